// The tile registers of AMX for BF16 (Intel 64 and IA-32 Architectures Software Developer's
// Manual, volume 1, chapter 18).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/bf16_pairs.h"
#include "kernels/use_tiles.h"

namespace zs::kernels {
namespace {

struct Bf16TileUnit {
  // Sixteen cycles a step and panel whatever the tokens, as much as each token takes with
  // VDPBF16PS: reckoned from instruction throughput (uops.info, Sapphire Rapids) with room for
  // conversions and loads, not yet measured.
  static constexpr size_t kMinTokens = 8;

  static constexpr cpu::TileConfig kConfig{{16, 64}, {16, 64}, {16, 64}, {16, 64}, {16, 64}};
  using Use = UseTiles<kConfig>;

  // Tiles 0 and 1 are the sums of the panels, 2 activations, 3 and 4 weights.
  static void product(const Bf16Panel* w, const Bf16Rows& x, size_t steps, size_t panels,
                      Bf16Sums* sums) {
    asm volatile("" : : : "memory");  // the loads below do not tell the compiler what they read
    _tile_loadd(0, sums[0][0], sizeof(Bf16Sums));
    if (panels > 1) _tile_loadd(1, sums[0][1], sizeof(Bf16Sums));
    for (size_t step = 0; step < steps; ++step) {
      const size_t pair = step * kBf16Columns / 2;
      _tile_loadd(2, x[0] + step * kBf16Columns, sizeof(x[0]));
      _tile_loadd(3, w[0][pair], sizeof(w[0][0]));
      _tile_dpbf16ps(0, 2, 3);
      if (panels > 1) {
        _tile_loadd(4, w[1][pair], sizeof(w[1][0]));
        _tile_dpbf16ps(1, 2, 4);
      }
    }
    _tile_stored(0, sums[0][0], sizeof(Bf16Sums));
    if (panels > 1) _tile_stored(1, sums[0][1], sizeof(Bf16Sums));
  }
};

}  // namespace
}  // namespace zs::kernels
