// The tile registers of AMX (Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 1, chapter 18). A packed group of 32 columns is 8 vectors of 16 rows x 4 bytes, which
// is the layout that TDPBUSD and its like want of their second operand.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/tile_sums.h"
#include "kernels/use_tiles.h"

namespace zs::kernels {
namespace {

struct TileUnit {
  // With 8 AVX-512 is faster, with 16 it is not (docs/adr/0003).
  static constexpr size_t kMinTokens = 12;

  static constexpr cpu::TileConfig kConfig{
      {16, 64},                                // 0 to 3: sums of 16 tokens x 16 rows
      {16, 64}, {16, 64}, {16, 64}, {16, 64},  // 4: activations, 64 columns
      {16, 64},                                // 5: weights, 64 columns
      {16, 32},                                // 6: activations, 32 columns
      {8, 64},                                 // 7: weights, 32 columns
  };
  using Use = UseTiles<kConfig>;

  static void product32(const int8_t* x, size_t stride, const uint8_t* w, TileSum& out) {
    asm volatile("" : : : "memory");  // the loads below do not tell the compiler what they read
    _tile_zero(0);
    _tile_loadd(6, x, stride);
    _tile_loadd(7, w, 64);
    _tile_dpbsud(0, 6, 7);
    _tile_stored(0, out, 64);
  }

  // Two panels take turns, so that no product waits for the one before it.
  template <bool TwoBytes>
  static void product256(const int8_t* x, size_t stride, const TileBytes* w, size_t panels,
                         TileSums* out) {
    asm volatile("" : : : "memory");
    _tile_zero(0);
    if (TwoBytes) _tile_zero(1);
    if (panels > 1) _tile_zero(2);
    if (TwoBytes && panels > 1) _tile_zero(3);
    for (size_t step = 0; step < 4; ++step) {
      _tile_loadd(4, x + step * 64, stride);
      _tile_loadd(5, w[0].low + step * kStepBytes, 64);
      _tile_dpbsud(0, 4, 5);
      if (TwoBytes) {
        _tile_loadd(5, w[0].high + step * kStepBytes, 64);
        _tile_dpbssd(1, 4, 5);
      }
      if (panels > 1) {
        _tile_loadd(5, w[1].low + step * kStepBytes, 64);
        _tile_dpbsud(2, 4, 5);
        if (TwoBytes) {
          _tile_loadd(5, w[1].high + step * kStepBytes, 64);
          _tile_dpbssd(3, 4, 5);
        }
      }
    }
    _tile_stored(0, out[0].low, 64);
    if (TwoBytes) _tile_stored(1, out[0].high, 64);
    if (panels > 1) _tile_stored(2, out[1].low, 64);
    if (TwoBytes && panels > 1) _tile_stored(3, out[1].high, 64);
  }

 private:
  static constexpr size_t kStepBytes = 16 * 64;
};

}  // namespace
}  // namespace zs::kernels
