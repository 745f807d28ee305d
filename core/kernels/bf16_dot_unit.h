// VDPBF16PS and the conversions around it, as linear_bf16_dot.h wants them.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/bf16_pairs.h"
#include "kernels/vec_avx512.h"

namespace zs::kernels {
namespace {

struct Bf16DotUnit {
  using V = Avx512Vec;
  using F = V::F;
  using I = V::I;

  // Additions follow MXCSR; the instructions for BF16 behave so without.
  class Use {
   public:
    Use() : before_(_mm_getcsr()) {
      constexpr unsigned kDenormalsAreZero = 0x0040, kFlushToZero = 0x8000;
      _mm_setcsr(before_ | kDenormalsAreZero | kFlushToZero);
    }
    ~Use() { _mm_setcsr(before_); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    unsigned before_;
  };

  ZS_INLINE static F dot(F sum, I w, I x) {
    return _mm512_dpbf16_ps(sum, bit_cast<__m512bh>(w), bit_cast<__m512bh>(x));
  }
  ZS_INLINE static void quad(const uint8_t* packed, I& even, I& odd) {
    const I low = _mm512_loadu_si512(packed), high = _mm512_loadu_si512(packed + 64);
    even = _mm512_permutex2var_epi16(high, words(0, 32), low);
    odd = _mm512_permutex2var_epi16(high, words(16, 48), low);
  }
  ZS_INLINE static I pair(const uint8_t* packed) {
    return _mm512_permutexvar_epi16(words(0, 16), _mm512_loadu_si512(packed));
  }

  ZS_INLINE static void round_quads(const float* from, size_t n, uint32_t* x) {
    const __m128i order = _mm_setr_epi8(4, 5, 0, 1, 6, 7, 2, 3, 12, 13, 8, 9, 14, 15, 10, 11);
    for (size_t k = 0; k < kBf16Columns; k += 16) {
      const __m256i rounded = bit_cast<__m256i>(_mm512_cvtneps_pbh(load(from, n, k)));
      const __m256i ordered = _mm256_shuffle_epi8(rounded, _mm256_broadcastsi128_si256(order));
      std::memcpy(x + k / 2, &ordered, sizeof(ordered));
    }
  }
  ZS_INLINE static void round(const float* from, size_t n, uint16_t* x) {
    const I rounded = bit_cast<I>(_mm512_cvtne2ps_pbh(load(from, n, 16), load(from, n, 0)));
    std::memcpy(x, &rounded, sizeof(rounded));
  }

 private:
  // Per dword r: word `low` + r below, word `high` + r above.
  ZS_INLINE static I words(int low, int high) {
    const I rows = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_add_epi32(_mm512_or_si512(rows, _mm512_slli_epi32(rows, 16)),
                            _mm512_set1_epi32(high << 16 | low));
  }
  ZS_INLINE static F load(const float* from, size_t n, size_t k) {
    const size_t left = n > k ? n - k : 0;
    return V::load_n(from + k, left < 16 ? static_cast<int>(left) : 16);
  }
  template <class To, class From>
  ZS_INLINE static To bit_cast(From from) {
    To to;
    static_assert(sizeof(to) == sizeof(from));
    std::memcpy(&to, &from, sizeof(to));
    return to;
  }
};

}  // namespace
}  // namespace zs::kernels
