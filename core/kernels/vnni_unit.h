// VPDPBUSD and VPDPWSSD on 256-bit registers, as processors without AVX-512 encode them.
#pragma once

#include <immintrin.h>

#include "base/unroll.h"

namespace zs::kernels {
namespace {

struct VnniUnit {
  ZS_INLINE static __m256i bytes(__m256i sum, __m256i u, __m256i x) {
    return _mm256_dpbusd_avx_epi32(sum, u, x);
  }
  ZS_INLINE static __m256i pairs(__m256i sum, __m256i a, __m256i b) {
    return _mm256_dpwssd_avx_epi32(sum, a, b);
  }
};

}  // namespace
}  // namespace zs::kernels
