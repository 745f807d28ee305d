// Weight formats and matrix sizes as Python gives them, checked.
#pragma once

#include <string>

#include "base/error.h"
#include "quant/format.h"

namespace zs::bind {

inline const quant::FormatTraits& format_by_name(const std::string& name) {
  std::string known;
  for (int i = 0; i < quant::kFormatCount; ++i) {
    const quant::FormatTraits& t = quant::traits(static_cast<quant::Format>(i));
    if (t.name == name) return t;
    known += (i ? ", " : "") + std::string(t.name);
  }
  throw Error(ErrorKind::InvalidRequest,
              "format \"" + name + "\" is unknown; expected one of " + known + ".");
}

inline Error wrong_size(const quant::FormatTraits& t, const std::string& what, size_t found,
                        size_t expected) {
  return Error(ErrorKind::InvalidRequest, std::string(t.name) + ": " + what + " has " +
                                              std::to_string(found) + " bytes, expected " +
                                              std::to_string(expected) + ".");
}

// The bytes of a row-major matrix.
inline size_t matrix_bytes(const quant::FormatTraits& t, size_t rows, size_t columns) {
  if (columns % t.block_values != 0) {
    throw Error(ErrorKind::InvalidRequest, std::string(t.name) + ": " + std::to_string(columns) +
                                               " columns are not a multiple of " +
                                               std::to_string(t.block_values) + ".");
  }
  return rows * quant::row_bytes(t.format, columns);
}

}  // namespace zs::bind
