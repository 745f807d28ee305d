// What a tile unit computes, in plain code: TDPBSUD and TDPBSSD of Intel's instruction set
// reference, with a tile of 16 tokens, one of 16 weight rows, and their 16 x 16 sums.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tile_sums.h"

namespace zs::kernels {
namespace {

struct TileModel {
  static constexpr size_t kMinTokens = 3;  // both ways of a product are tested
  struct Use {
    Use() {}
  };

  static void product32(const int8_t* x, size_t stride, const uint8_t* w, TileSum& out) {
    product(x, stride, w, 32, out);
  }

  template <bool TwoBytes>
  static void product256(const int8_t* x, size_t stride, const TileBytes* w, size_t panels,
                         TileSums* out) {
    for (size_t p = 0; p < panels; ++p) {
      product(x, stride, w[p].low, 256, out[p].low);
      if (TwoBytes) product(x, stride, w[p].high, 256, out[p].high);
    }
  }

 private:
  template <class Byte>
  static void product(const int8_t* x, size_t stride, const Byte* w, size_t columns, TileSum& out) {
    for (size_t t = 0; t < kTileRows; ++t) {
      for (size_t row = 0; row < kPanelRows; ++row) {
        int32_t sum = 0;
        for (size_t k = 0; k < columns; ++k) {
          sum += int32_t{x[t * stride + k]} * w[k / 4 * 64 + row * 4 + k % 4];
        }
        out[t][row] = sum;
      }
    }
  }
};

}  // namespace
}  // namespace zs::kernels
