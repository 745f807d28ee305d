// What VPDPBUSD and VPDPWSSD compute, in AVX2.
#pragma once

#include <immintrin.h>

#include "base/unroll.h"

namespace zs::kernels {
namespace {

struct VnniModel {
  ZS_INLINE static __m256i bytes(__m256i sum, __m256i u, __m256i x) {
    const __m256i even_u = _mm256_and_si256(u, _mm256_set1_epi16(0xff));
    const __m256i even_x = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
    const __m256i odd_u = _mm256_srli_epi16(u, 8), odd_x = _mm256_srai_epi16(x, 8);
    return pairs(pairs(sum, even_u, even_x), odd_u, odd_x);
  }
  ZS_INLINE static __m256i pairs(__m256i sum, __m256i a, __m256i b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
};

}  // namespace
}  // namespace zs::kernels
