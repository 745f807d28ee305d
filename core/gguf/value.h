// Metadata values, left where they lie in the mapped file and decoded when asked for.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace zs::gguf {

enum class ValueType : uint32_t {
  U8 = 0,
  I8 = 1,
  U16 = 2,
  I16 = 3,
  U32 = 4,
  I32 = 5,
  F32 = 6,
  Bool = 7,
  String = 8,
  Array = 9,
  U64 = 10,
  I64 = 11,
  F64 = 12,
};
inline constexpr uint32_t kValueTypeCount = 13;

std::string_view value_type_name(ValueType type);
// Bytes of a value of fixed size; 0 for String and Array.
uint32_t value_type_bytes(ValueType type);

// A value whose bounds were checked when the file was opened.
struct Value {
  ValueType type;
  ValueType element;    // of an array; otherwise the type itself
  uint64_t count;       // elements of an array; otherwise 1
  const uint8_t* data;  // first byte of the (first) value, unaligned; a string begins with its
                        // 64-bit length, a nested array with its element type and count
};

struct Entry {
  std::string key;
  Value value;
};

// Numbers of any type that convert without loss of meaning; nullopt for others.
std::optional<uint64_t> as_uint(const Value& value);  // an integer, not negative
std::optional<double> as_float(const Value& value);   // an integer or a float

// A value of fixed size at an address of any alignment.
template <typename T>
T load(const uint8_t* address) {
  T value;
  std::memcpy(&value, address, sizeof(T));
  return value;
}

// Decode the value at `cursor` and move behind it. The bounds were checked by File::open.
std::string_view next_string(const uint8_t*& cursor);
Value next_array(const uint8_t*& cursor);  // a nested array; cursor moves to its first element
// Moves behind a whole value of any type.
void skip_value(const uint8_t*& cursor, ValueType type);

}  // namespace zs::gguf
