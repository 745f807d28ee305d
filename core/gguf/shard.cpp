// Header of one file: magic, version, counts and alignment; then metadata and directory.
#include "gguf/shard.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace zs::gguf {
namespace {

constexpr uint64_t kDefaultAlignment = 32;
constexpr char kAlignmentKey[] = "general.alignment";

[[noreturn]] void fail_version(const std::string& path, const std::string& found) {
  throw Error(ErrorKind::UnsupportedModel,
              printable(path, 4096) + ": header, version: found " + found +
                  ", expected 2 or 3, little endian; convert the model again with a current "
                  "convert_hf_to_gguf.py, or download a current file");
}

uint32_t read_version(Cursor& cursor, const std::string& path) {
  const auto version = cursor.read<uint32_t>("version");
  if (version == 2 || version == 3) return version;
  if (version == 0) cursor.fail("version", "0", "2 or 3");
  // A big-endian file's small version reads as one with its low 16 bits zero.
  if ((version & 0xffff) == 0) fail_version(path, "a big-endian file");
  fail_version(path, std::to_string(version));
}

uint64_t find_alignment(Cursor& cursor, const std::vector<Entry>& metadata) {
  const auto entry = std::find_if(metadata.begin(), metadata.end(),
                                  [](const Entry& e) { return e.key == kAlignmentKey; });
  if (entry == metadata.end()) return kDefaultAlignment;
  cursor.set_subject("metadata key", entry->key);
  if (entry->value.type != ValueType::U32) {
    cursor.fail("type", std::string(value_type_name(entry->value.type)), "uint32");
  }
  const auto alignment = load<uint32_t>(entry->value.data);
  if (!std::has_single_bit(alignment) || alignment < 8) {
    cursor.fail("value", std::to_string(alignment), "a power of two, at least 8");
  }
  return alignment;
}

}  // namespace

Shard parse_shard(const std::string& path, std::span<const uint8_t> bytes) {
  Cursor cursor(path, bytes);
  const auto magic = cursor.read<uint32_t>("magic");
  if (std::memcmp(&magic, "GGUF", 4) != 0) {
    const std::string_view found(reinterpret_cast<const char*>(bytes.data()), 4);
    cursor.fail("magic", "'" + printable(found) + "'", "'GGUF'",
                "give a model in GGUF format, or convert it to one");
  }
  Shard shard;
  shard.version = read_version(cursor, path);
  const auto n_tensors = cursor.read<uint64_t>("tensor count");
  const auto n_entries = cursor.read<uint64_t>("metadata count");
  shard.metadata = parse_metadata(cursor, n_entries);
  const uint64_t alignment = find_alignment(cursor, shard.metadata);
  shard.tensors = parse_directory(cursor, path, n_tensors, alignment, bytes);
  return shard;
}

}  // namespace zs::gguf
