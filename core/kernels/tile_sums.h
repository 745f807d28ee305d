// What goes into a tile unit and comes out (linear_tiles.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/linear_matmul.h"

namespace zs::kernels {
namespace {

// Sums of 16 tokens, of 16 rows each.
using TileSum = int32_t[kTileRows][kPanelRows];

// 256 columns of a panel, 64 vectors of 16 rows x 4 bytes. Where a value takes two bytes it is
// 256 * high + low.
struct TileBytes {
  const uint8_t* low;
  const int8_t* high;
};
struct alignas(64) TileSums {
  TileSum low, high;
};

}  // namespace
}  // namespace zs::kernels
