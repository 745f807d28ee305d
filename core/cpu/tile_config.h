// What LDTILECFG reads (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace zs::cpu {

struct TileShape {
  uint8_t rows;
  uint8_t row_bytes;
};

// Kept as a constant: GCC's intrinsic tells the compiler of the first 8 bytes it reads only, so of
// a variable the rest may never be written.
struct alignas(64) TileConfig {
  static constexpr size_t kTiles = 8, kMostRows = 16, kMostRowBytes = 64;

  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  // Shapes of the tiles from 0 on; the others are not used.
  constexpr TileConfig(std::initializer_list<TileShape> shapes) {
    size_t tile = 0;
    for (const TileShape& shape : shapes) {
      rows[tile] = shape.rows;
      row_bytes[tile++] = shape.row_bytes;
    }
  }

  // Whether the processor accepts it; it faults otherwise.
  constexpr bool valid() const {
    for (size_t tile = 0; tile < 16; ++tile) {
      if ((rows[tile] == 0) != (row_bytes[tile] == 0)) return false;
      if (rows[tile] > 0 && tile >= kTiles) return false;
      if (rows[tile] > kMostRows || row_bytes[tile] > kMostRowBytes) return false;
    }
    return true;
  }
};
static_assert(sizeof(TileConfig) == 64);

}  // namespace zs::cpu
