// What a tile unit computes, in plain code: TDPBSUD of Intel's instruction set reference, with
// a tile of 16 tokens, one of 16 weight rows, and their 16 x 16 sums.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zs::kernels {
namespace {

struct TileModel {
  static constexpr size_t kMinTokens = 3;  // both ways of a product are tested
  struct Use {
    Use() {}
  };

  template <int Steps>
  static void product(const int8_t* x, size_t stride, const uint8_t* w, int32_t (*out)[16]) {
    for (size_t t = 0; t < 16; ++t) {
      for (size_t row = 0; row < 16; ++row) {
        int32_t sum = 0;
        for (size_t k = 0; k < 4 * Steps; ++k) {
          sum += int32_t{x[t * stride + k]} * w[k / 4 * 64 + row * 4 + k % 4];
        }
        out[t][row] = sum;
      }
    }
  }
};

}  // namespace
}  // namespace zs::kernels
