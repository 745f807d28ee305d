// BF16 weights times activations rounded to BF16, with VDPBF16PS: two columns an instruction,
// twice the arithmetic of FMA. Each product pair is rounded in steps and denormals count as zero,
// so the bits differ from those of every other kernel: only on request (docs/adr/0005).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/linear_matmul.h"
#include "kernels/vec_avx512.h"
#include "quant/bf16.h"

namespace zs::kernels {
namespace {

struct Bf16DotKernel {
  using V = Avx512Vec;
  using Codec = quant::BF16;
  using F = V::F;

  static constexpr size_t kChunkColumns = 64, kPairs = kChunkColumns / 2;
  static constexpr bool kPrefetchAlone = true;
  static constexpr int kDirectTokens = 8;
  static constexpr size_t kDirectLimit = kPassTokens;
  static constexpr int kTilePanels = 1, kTileTokens = 1;
  struct Chunk {};

  template <int T>
  ZS_INLINE static void direct(const Span& span, const Activations& a, const size_t* at, F* acc) {
    alignas(64) uint32_t x[T][kPairs];
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA { round_pairs(a.f + at[t], span.columns, x[t]); });
    const uint8_t* packed = span.panel + span.begin * kColumn;
    const size_t pairs = span.columns / 2;
    for (size_t k = 0; k < pairs; ++k, packed += 2 * kColumn) {
      multiply<T>(interleave(_mm512_loadu_si512(packed)), x, k, acc);
    }
    if (span.columns % 2 != 0) {  // the last column of an odd row, beside a column of zeros
      const __m256i last = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed));
      multiply<T>(_mm512_cvtepu16_epi32(last), x, pairs, acc);
    }
  }

 private:
  static constexpr size_t kColumn = kPanelRows * sizeof(uint16_t);

  // Columns k and k + 1 of 16 rows to one dword a row.
  ZS_INLINE static __m512i interleave(__m512i columns) {
    const __m512i order = _mm512_or_si512(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        _mm512_slli_epi32(
            _mm512_setr_epi32(16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31), 16));
    return _mm512_permutexvar_epi16(order, columns);
  }

  template <int T>
  ZS_INLINE static void multiply(__m512i w, const uint32_t (*x)[kPairs], size_t k, F* acc) {
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
      const __m512i pair = _mm512_set1_epi32(static_cast<int32_t>(x[t][k]));
      acc[t] = _mm512_dpbf16_ps(acc[t], bit_cast(w), bit_cast(pair));
    });
  }

  // To nearest even; columns beyond the last are zero.
  ZS_INLINE static void round_pairs(const float* from, size_t columns, uint32_t* x) {
    for (size_t k = 0; k < columns; k += 16) {
      const size_t left = columns - k;
      const F values = V::load_n(from + k, left < 16 ? static_cast<int>(left) : 16);
      const __m256bh rounded = _mm512_cvtneps_pbh(values);
      std::memcpy(reinterpret_cast<uint16_t*>(x) + k, &rounded, sizeof(rounded));
    }
  }
  ZS_INLINE static __m512bh bit_cast(__m512i a) {
    __m512bh b;
    static_assert(sizeof(a) == sizeof(b));
    std::memcpy(&b, &a, sizeof(b));
    return b;
  }
};

}  // namespace
}  // namespace zs::kernels
