// Activations to int8, one float scale per block: amax / 127, where amax is the largest
// magnitude. A block whose amax is so small that 127 / amax overflows is zero; one with a NaN
// or an infinity has the scale NaN or infinity, so that neither is lost.
#pragma once

#include <cstring>

#include "kernels/vec.h"

namespace zs::kernels {
namespace {

template <class V>
struct QuantizeOps {
  using F = typename V::F;
  using I = typename V::I;

  static void quantize_q8_k(const float* x, size_t n, int8_t* q, float* scales, int16_t* sums16,
                            int16_t* sums32) {
    for (size_t i = 0; i < n; i += 256) {
      int16_t* sums = sums16 + i / 16;
      scales[i / 256] = block<16>(x + i, q + i, sums);
      for (size_t j = 0; j < 8; ++j) {
        sums32[i / 32 + j] = static_cast<int16_t>(sums[2 * j] + sums[2 * j + 1]);
      }
    }
  }

  static void quantize_q8_32(const float* x, size_t n, int8_t* q, float* scales, int16_t* sums32) {
    for (size_t i = 0; i < n; i += 32) {
      int16_t sums[2];
      scales[i / 32] = block<2>(x + i, q + i, sums);
      sums32[i / 32] = static_cast<int16_t>(sums[0] + sums[1]);
    }
  }

 private:
  // Vectors * 16 values; returns the scale.
  template <int Vectors>
  ZS_INLINE static float block(const float* x, int8_t* q, int16_t* sums) {
    I largest = V::izero();  // magnitudes compare as integers, NaN above infinity
    for (int i = 0; i < Vectors; ++i) {
      largest = V::imax(largest, V::float_to_bits(V::abs(V::load(x + 16 * i))));
    }
    const int32_t bits = V::imax_of(largest);
    float amax;
    std::memcpy(&amax, &bits, 4);
    const float inverse = amax > 0x1p-120f ? 127.0f / amax : 0.0f;
    for (int i = 0; i < Vectors; ++i) {
      const I rounded = V::round_int(V::mul(V::load(x + 16 * i), V::set1(inverse)));
      V::store_i8(q + 16 * i, rounded);
      sums[i] = static_cast<int16_t>(V::isum(rounded));
    }
    return amax <= 0x1p-120f ? 0.0f : amax / 127.0f;
  }
};

}  // namespace
}  // namespace zs::kernels
