// The key-value section: walked and checked, never copied.
#include <string>

#include "gguf/name_index.h"
#include "gguf/shard.h"

namespace zs::gguf {
namespace {

// Limits that no model comes near; they bound the time and memory that a file can cost.
constexpr uint64_t kMaxEntries = 1 << 20;
constexpr uint64_t kMaxKeyBytes = 65535;  // the specification's
constexpr int kMaxArrayDepth = 4;
constexpr uint64_t kMaxWalked = 1ull << 27;  // strings and nested arrays in all arrays together

// The smallest value a type can take in a file: an empty string, an empty nested array.
uint64_t least_bytes(ValueType type) {
  if (type == ValueType::String) return 8;
  if (type == ValueType::Array) return 12;
  return value_type_bytes(type);
}

class ValueWalk {
 public:
  explicit ValueWalk(Cursor& cursor) : cursor_(cursor) {}

  Value walk() {
    const ValueType type = read_type("value type");
    if (type == ValueType::Array) return walk_array(1);
    const Value value{type, type, 1, cursor_.here()};
    walk_value(type, 0);
    return value;
  }

 private:
  ValueType read_type(const char* field) {
    const auto id = cursor_.read<uint32_t>(field);
    if (id >= kValueTypeCount) cursor_.fail(field, std::to_string(id), "a type id from 0 to 12");
    return static_cast<ValueType>(id);
  }

  void walk_value(ValueType type, int depth) {
    switch (type) {
      case ValueType::String: cursor_.read_string("string length"); break;
      case ValueType::Array: walk_array(depth + 1); break;
      case ValueType::Bool: walk_bools(1); break;
      default: cursor_.skip(1, value_type_bytes(type), "value");
    }
  }

  Value walk_array(int depth) {
    if (depth > kMaxArrayDepth) {
      cursor_.fail("array nesting", std::to_string(depth) + " levels",
                   "at most " + std::to_string(kMaxArrayDepth));
    }
    const ValueType element = read_type("array element type");
    const auto count = cursor_.read<uint64_t>("array length");
    cursor_.need(count, least_bytes(element), "array length");
    const Value array{ValueType::Array, element, count, cursor_.here()};
    if (element == ValueType::Bool) {
      walk_bools(count);
    } else if (const uint64_t bytes = value_type_bytes(element)) {
      cursor_.skip(count, bytes, "array length");
    } else {
      walked_ += count;
      if (walked_ > kMaxWalked) {
        cursor_.fail("array length", std::to_string(count),
                     "fewer than " + std::to_string(kMaxWalked) + " strings in a file");
      }
      for (uint64_t i = 0; i < count; ++i) walk_value(element, depth);
    }
    return array;
  }

  void walk_bools(uint64_t count) {
    const uint8_t* values = cursor_.here();
    cursor_.skip(count, 1, "value");
    for (uint64_t i = 0; i < count; ++i) {
      if (values[i] > 1) cursor_.fail("boolean value", std::to_string(values[i]), "0 or 1");
    }
  }

  Cursor& cursor_;
  uint64_t walked_ = 0;
};

std::string read_key(Cursor& cursor) {
  const std::string_view key = cursor.read_string("key length");
  if (key.empty() || key.size() > kMaxKeyBytes) {
    cursor.fail("key length", std::to_string(key.size()),
                "1 to " + std::to_string(kMaxKeyBytes) + " bytes");
  }
  if (!is_utf8(key)) cursor.fail("key", "'" + printable(key) + "'", "UTF-8 text");
  return std::string(key);
}

}  // namespace

std::vector<Entry> parse_metadata(Cursor& cursor, uint64_t count) {
  if (count > kMaxEntries) {
    cursor.fail("metadata count", std::to_string(count), "at most " + std::to_string(kMaxEntries));
  }
  cursor.need(count, 8 + 1 + 4 + 1, "metadata count");  // key length, key, type, value
  std::vector<Entry> entries;
  ValueWalk values(cursor);
  for (uint64_t i = 0; i < count; ++i) {
    cursor.set_subject("metadata entry", i + 1);
    std::string key = read_key(cursor);
    cursor.set_subject("metadata key", key);
    const Value value = values.walk();
    entries.push_back({std::move(key), value});
  }
  const Entry* twice = duplicate_name<&Entry::key>(entries, index_names<&Entry::key>(entries));
  if (twice != nullptr) {
    cursor.set_subject("metadata key", twice->key);
    cursor.fail("key", "it twice", "each key once");
  }
  return entries;
}

}  // namespace zs::gguf
