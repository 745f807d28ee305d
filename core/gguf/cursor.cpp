// Reading strings, and the messages of a read that does not fit the file.
#include "gguf/cursor.h"

namespace zs::gguf {

std::string_view Cursor::read_string(const char* field) {
  const auto length = read<uint64_t>(field);
  need(length, 1, field);
  const std::string_view text(reinterpret_cast<const char*>(here()), length);
  position_ += length;
  return text;
}

std::string Cursor::subject() const {
  if (name_.data() != nullptr) return std::string(kind_) + " '" + printable(name_) + "'";
  if (index_ != 0) return std::string(kind_) + " " + std::to_string(index_);
  return kind_;
}

void Cursor::fail(const char* field, const std::string& found, const std::string& expected,
                  std::string_view remedy) const {
  fail_format(path_, subject() + ", " + field, found, expected, remedy);
}

void Cursor::fail_truncated(uint64_t count, uint64_t bytes, const char* field) const {
  const std::string size =
      bytes == 1 ? " bytes" : " times at least " + std::to_string(bytes) + " bytes";
  fail(field, std::to_string(count) + size + " at byte " + std::to_string(position_),
       "at most the " + std::to_string(remaining()) + " bytes that the file has left",
       "the file is truncated or damaged: download or convert it again");
}

}  // namespace zs::gguf
