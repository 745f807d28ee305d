// Names, sizes, conversion and decoding of metadata values.
#include "gguf/value.h"

#include <bit>
#include <cstring>

namespace zs::gguf {

static_assert(std::endian::native == std::endian::little, "values are read as they lie");

std::string_view value_type_name(ValueType type) {
  static constexpr std::string_view kNames[kValueTypeCount] = {
      "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
      "bool",  "string", "array",  "uint64", "int64",  "float64"};
  return kNames[static_cast<uint32_t>(type)];
}

uint32_t value_type_bytes(ValueType type) {
  static constexpr uint32_t kBytes[kValueTypeCount] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kBytes[static_cast<uint32_t>(type)];
}

std::optional<uint64_t> as_uint(const Value& value) {
  const auto positive = [](int64_t v) {
    return v >= 0 ? std::optional<uint64_t>(static_cast<uint64_t>(v)) : std::nullopt;
  };
  switch (value.type) {
    case ValueType::U8: return load<uint8_t>(value.data);
    case ValueType::U16: return load<uint16_t>(value.data);
    case ValueType::U32: return load<uint32_t>(value.data);
    case ValueType::U64: return load<uint64_t>(value.data);
    case ValueType::I8: return positive(load<int8_t>(value.data));
    case ValueType::I16: return positive(load<int16_t>(value.data));
    case ValueType::I32: return positive(load<int32_t>(value.data));
    case ValueType::I64: return positive(load<int64_t>(value.data));
    default: return std::nullopt;
  }
}

std::optional<double> as_float(const Value& value) {
  switch (value.type) {
    case ValueType::F32: return load<float>(value.data);
    case ValueType::F64: return load<double>(value.data);
    case ValueType::I8: return load<int8_t>(value.data);
    case ValueType::I16: return load<int16_t>(value.data);
    case ValueType::I32: return load<int32_t>(value.data);
    case ValueType::I64: return static_cast<double>(load<int64_t>(value.data));
    default: break;
  }
  const std::optional<uint64_t> number = as_uint(value);
  return number ? std::optional<double>(static_cast<double>(*number)) : std::nullopt;
}

std::string_view next_string(const uint8_t*& cursor) {
  const auto length = load<uint64_t>(cursor);
  const std::string_view text(reinterpret_cast<const char*>(cursor + 8), length);
  cursor += 8 + length;
  return text;
}

Value next_array(const uint8_t*& cursor) {
  const auto element = static_cast<ValueType>(load<uint32_t>(cursor));
  const auto count = load<uint64_t>(cursor + 4);
  cursor += 12;
  return {ValueType::Array, element, count, cursor};
}

void skip_value(const uint8_t*& cursor, ValueType type) {
  if (type == ValueType::String) {
    next_string(cursor);
  } else if (type == ValueType::Array) {
    const Value array = next_array(cursor);
    if (const uint32_t bytes = value_type_bytes(array.element)) {
      cursor += array.count * bytes;
    } else {
      for (uint64_t i = 0; i < array.count; ++i) skip_value(cursor, array.element);
    }
  } else {
    cursor += value_type_bytes(type);
  }
}

}  // namespace zs::gguf
