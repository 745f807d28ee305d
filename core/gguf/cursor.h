// A bounds-checked reader over the bytes of one file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "gguf/report.h"
#include "gguf/value.h"

namespace zs::gguf {

class Cursor {
 public:
  Cursor(std::string_view path, std::span<const uint8_t> bytes) : path_(path), bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }
  const uint8_t* here() const { return bytes_.data() + position_; }

  // What is being read, for messages: "metadata entry 3", then "metadata key 'x'".
  void set_subject(const char* kind, uint64_t index) {
    kind_ = kind;
    index_ = index;
    name_ = {};
  }
  void set_subject(const char* kind, std::string_view name) {
    kind_ = kind;
    name_ = name;
  }

  template <typename T>
  T read(const char* field) {
    need(sizeof(T), 1, field);
    const T value = load<T>(here());
    position_ += sizeof(T);
    return value;
  }
  // The view points into the file.
  std::string_view read_string(const char* field);
  // Moves over `count` values of `bytes` each.
  void skip(uint64_t count, uint64_t bytes, const char* field) {
    need(count, bytes, field);
    position_ += count * bytes;
  }
  // A claimed count of things that take at least `bytes` each must fit the rest of the file.
  void need(uint64_t count, uint64_t bytes, const char* field) const {
    if (count > remaining() / bytes) fail_truncated(count, bytes, field);
  }
  [[noreturn]] void fail(const char* field, const std::string& found, const std::string& expected,
                         std::string_view remedy = kDamaged) const;
  std::string subject() const;

 private:
  [[noreturn]] void fail_truncated(uint64_t count, uint64_t bytes, const char* field) const;

  std::string_view path_;
  std::span<const uint8_t> bytes_;
  uint64_t position_ = 0;
  const char* kind_ = "header";
  uint64_t index_ = 0;
  std::string_view name_;
};

}  // namespace zs::gguf
