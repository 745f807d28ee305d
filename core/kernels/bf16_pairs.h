// How tiles hold BF16 weights, activations and sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/linear_matmul.h"

namespace zs::kernels {
namespace {

inline constexpr size_t kBf16Columns = 32;  // of one step: a row of a tile of activations
inline constexpr size_t kBf16Column = kPanelRows * sizeof(uint16_t);  // bytes of a packed column
inline constexpr size_t kBf16TilePanels = 2, kBf16ChunkColumns = 128;

using Bf16Panel = uint16_t[kBf16ChunkColumns / 2][kPanelRows][2];  // pairs of columns
using Bf16Rows = uint16_t[kTileRows][kBf16ChunkColumns];           // of tokens
using Bf16Sums = float[kBf16TilePanels][kPanelRows];               // of one token

// The 32 packed columns at `packed`: where they lie, or in `filled` with zeros after the first n.
ZS_INLINE const uint8_t* bf16_columns(const uint8_t* packed, size_t n, uint8_t* filled) {
  if (n >= kBf16Columns) return packed;
  std::memcpy(filled, packed, n * kBf16Column);
  std::memset(filled + n * kBf16Column, 0, (kBf16Columns - n) * kBf16Column);
  return filled;
}

}  // namespace
}  // namespace zs::kernels
