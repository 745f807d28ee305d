// What every weight format supplies, seen from outside: sizes, scalar decode and packing.
// The kernels over packed panels are in kernels/; they include the format headers directly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace zs::quant {

enum class Format : uint8_t {
#define ZS_FORMAT(type, name, id) type,
#include "quant/formats.inc"
#undef ZS_FORMAT
};

inline constexpr int kFormatCount = 0
#define ZS_FORMAT(type, name, id) +1
#include "quant/formats.inc"
#undef ZS_FORMAT
    ;

// How the activations must be prepared for a format (kernels/table.h, Activations).
enum class ActivationKind : uint8_t {
  F32,    // as they are: float weights
  Q8_32,  // int8 with one float scale per 32 values: legacy formats
  Q8_K,   // int8 with one float scale per 256 values: K-quants
};

inline constexpr int kPanelRows = 16;  // a panel: 16 rows, lane r of a vector belongs to row r

struct FormatTraits {
  Format format;
  std::string_view name;  // as GGUF spells it
  uint32_t gguf_id;
  uint32_t block_values;  // values per block along K
  uint32_t block_bytes;   // bytes per block of one row
  ActivationKind activations;
  // Decodes `blocks` blocks of one row to float, bit for bit as the gguf package does.
  void (*decode)(const uint8_t* source, float* out, size_t blocks);
  // Packs `blocks` blocks of 16 rows, `row_stride` bytes apart, into one panel. Rows from
  // `rows` on (fewer than 16 in a matrix's last panel) are packed as zeros. A packed panel has
  // exactly kPanelRows * blocks * block_bytes bytes; panels follow one another.
  void (*pack)(const uint8_t* source, size_t row_stride, int rows, size_t blocks, uint8_t* panel);
};

const FormatTraits& traits(Format format);
// nullptr when no format has this id.
const FormatTraits* traits_by_gguf_id(uint32_t id);

inline size_t row_bytes(Format format, size_t columns) {
  const FormatTraits& t = traits(format);
  return columns / t.block_values * t.block_bytes;
}
inline size_t panel_bytes(Format format, size_t columns) {
  return kPanelRows * row_bytes(format, columns);
}

}  // namespace zs::quant
