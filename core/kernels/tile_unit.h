// The tile registers of AMX (Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 1, chapter 18). A packed group of 32 columns is 8 vectors of 16 rows x 4 bytes, which
// is the layout that TDPBSUD wants of its second operand, so weights are loaded as they lie.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace zs::kernels {
namespace {

struct TileUnit {
  // Sixteen cycles a group whatever the tokens, against four for each token with AVX-512 VNNI:
  // reckoned from instruction throughput (uops.info, Sapphire Rapids), not yet measured.
  static constexpr size_t kMinTokens = 8;

  class Use {
   public:
    Use() {
      struct alignas(64) {
        uint8_t palette = 1, start_row = 0, reserved[14] = {};
        uint16_t row_bytes[16] = {};
        uint8_t rows[16] = {};
      } shape;
      const auto set = [&](int tile, uint8_t rows, uint16_t row_bytes) {
        shape.rows[tile] = rows;
        shape.row_bytes[tile] = row_bytes;
      };
      set(0, 16, 64);  // sums of 16 tokens x 16 rows
      set(1, 16, 32);  // activations, 32 columns
      set(2, 8, 64);   // weights, 32 columns
      set(3, 16, 16);  // activations, 16 columns
      set(4, 4, 64);   // weights, 16 columns
      _tile_loadconfig(&shape);
    }
    ~Use() { _tile_release(); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
  };

  template <int Steps>
  static void product(const int8_t* x, size_t stride, const uint8_t* w, int32_t (*out)[16]) {
    static_assert(Steps == 8 || Steps == 4);
    asm volatile("" : : : "memory");  // the loads below do not tell the compiler what they read
    _tile_zero(0);
    if constexpr (Steps == 8) {
      _tile_loadd(1, x, stride);
      _tile_loadd(2, w, 64);
      _tile_dpbsud(0, 1, 2);
    } else {
      _tile_loadd(3, x, stride);
      _tile_loadd(4, w, 64);
      _tile_dpbsud(0, 3, 4);
    }
    _tile_stored(0, out, 64);
  }
};

}  // namespace
}  // namespace zs::kernels
