// The vector class on AVX2, FMA and F16C: a pair of registers is the 16 lanes.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/vec.h"

namespace zs::kernels {
namespace {

struct Avx2Vec {
  static constexpr bool kWide = false;
  // Four tokens at once would be 1.1 to 1.8 times slower than unpacking first (K-quants, Zen 3).
  static constexpr int kDirectTokens = 2;
  static constexpr size_t kDirectLimit = 2;
  static constexpr int kTilePanels = 1, kTileTokens = 4;
  static constexpr bool kSignedBytes = true;
  static constexpr bool kPrefetchPages = true;
  static constexpr bool kPrefetchParts = true;
  static constexpr size_t kFarAhead = 0;
  static constexpr bool kPairs = true;

  struct F {
    __m256 lo, hi;
  };
  struct I {
    __m256i lo, hi;
  };

  // --- floats ---------------------------------------------------------------------------
  ZS_INLINE static F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  ZS_INLINE static F set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  ZS_INLINE static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  ZS_INLINE static void store(float* p, F a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
  }
  ZS_INLINE static F load_n(const float* p, int n) {
    return {_mm256_maskload_ps(p, first(n)), _mm256_maskload_ps(p + 8, first(n - 8))};
  }
  ZS_INLINE static void store_n(float* p, F a, int n) {
    _mm256_maskstore_ps(p, first(n), a.lo);
    _mm256_maskstore_ps(p + 8, first(n - 8), a.hi);
  }
  ZS_INLINE static F load_f16(const uint16_t* p) {
    return {_mm256_cvtph_ps(load128(p)), _mm256_cvtph_ps(load128(p + 8))};
  }
  ZS_INLINE static F load_bf16(const uint16_t* p) { return bits_to_float(ishl(iload_u16(p), 16)); }
  ZS_INLINE static void store_f16(uint16_t* p, F a) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, kNearest));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.hi, kNearest));
  }
  ZS_INLINE static F add(F a, F b) {
    return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
  }
  ZS_INLINE static F sub(F a, F b) {
    return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
  }
  ZS_INLINE static F mul(F a, F b) {
    return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
  }
  ZS_INLINE static F div(F a, F b) {
    return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
  }
  ZS_INLINE static F max(F a, F b) {
    return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
  }
  ZS_INLINE static F min(F a, F b) {
    return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
  }
  ZS_INLINE static F select_lt(F a, F b, F x, F y) {
    return {_mm256_blendv_ps(y.lo, x.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
            _mm256_blendv_ps(y.hi, x.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
  }
  ZS_INLINE static F sqrt(F a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
  ZS_INLINE static F abs(F a) { return bits_to_float(iand(float_to_bits(a), 0x7fffffff)); }
  ZS_INLINE static F fma(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  ZS_INLINE static F fnma(F a, F b, F c) {
    return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
  }
  ZS_INLINE static F from_int(I a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
  ZS_INLINE static I round_int(F a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }
  ZS_INLINE static F round(F a) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(a.lo, kNearest), _mm256_round_ps(a.hi, kNearest)};
  }
  ZS_INLINE static F pow2(F n) { return bits_to_float(ishl(iadd(round_int(n), iset1(127)), 23)); }
  ZS_INLINE static float sum(F a) {
    const __m256 s8 = _mm256_add_ps(a.lo, a.hi);
    const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
  }
  ZS_INLINE static float max_of(F a) {
    const __m256 s8 = _mm256_max_ps(a.lo, a.hi);
    const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_max_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
  }

  // --- int32 ----------------------------------------------------------------------------
  ZS_INLINE static I izero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  ZS_INLINE static I iset1(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  ZS_INLINE static I iload(const void* p) {
    const __m256i* from = static_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)};
  }
  ZS_INLINE static void istore(void* p, I a) {
    __m256i* to = static_cast<__m256i*>(p);
    _mm256_storeu_si256(to, a.lo);
    _mm256_storeu_si256(to + 1, a.hi);
  }
  ZS_INLINE static I iload_u16(const uint16_t* p) {
    return {_mm256_cvtepu16_epi32(load128(p)), _mm256_cvtepu16_epi32(load128(p + 8))};
  }
  ZS_INLINE static I iload_u8(const uint8_t* p) {
    const __m128i bytes = load128(p);
    return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
  }
  ZS_INLINE static I iadd(I a, I b) {
    return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
  }
  ZS_INLINE static I isub(I a, I b) {
    return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
  }
  ZS_INLINE static I imul(I a, I b) {
    return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)};
  }
  ZS_INLINE static I ior(I a, I b) {
    return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
  }
  ZS_INLINE static I imax(I a, I b) {
    return {_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)};
  }
  ZS_INLINE static I iand(I a, int32_t mask) {
    const __m256i m = _mm256_set1_epi32(mask);
    return {_mm256_and_si256(a.lo, m), _mm256_and_si256(a.hi, m)};
  }
  ZS_INLINE static I ishl(I a, int n) {
    return {_mm256_slli_epi32(a.lo, n), _mm256_slli_epi32(a.hi, n)};
  }
  ZS_INLINE static I ishr(I a, int n) {
    return {_mm256_srli_epi32(a.lo, n), _mm256_srli_epi32(a.hi, n)};
  }
  ZS_INLINE static F bits_to_float(I a) {
    return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)};
  }
  ZS_INLINE static I float_to_bits(F a) {
    return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)};
  }
  ZS_INLINE static int32_t isum(I a) {
    const __m256i s8 = _mm256_add_epi32(a.lo, a.hi);
    const __m128i s4 = _mm_add_epi32(_mm256_castsi256_si128(s8), _mm256_extracti128_si256(s8, 1));
    const __m128i s2 = _mm_add_epi32(s4, _mm_shuffle_epi32(s4, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s2, _mm_shuffle_epi32(s2, 0xb1)));
  }
  ZS_INLINE static int32_t imax_of(I a) {
    const __m256i s8 = _mm256_max_epi32(a.lo, a.hi);
    const __m128i s4 = _mm_max_epi32(_mm256_castsi256_si128(s8), _mm256_extracti128_si256(s8, 1));
    const __m128i s2 = _mm_max_epi32(s4, _mm_shuffle_epi32(s4, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(s2, _mm_shuffle_epi32(s2, 0xb1)));
  }
  ZS_INLINE static void store_i8(int8_t* p, I a) {
    // Low byte of each lane to the front of its 128-bit half, then the fronts side by side.
    const __m256i front =
        _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12,
                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i lo = _mm256_shuffle_epi8(a.lo, front), hi = _mm256_shuffle_epi8(a.hi, front);
    const __m256i both = _mm256_unpacklo_epi32(lo, hi);  // a0 b0 . . | a1 b1 . .
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(both, order)));
  }

  // --- bytes ----------------------------------------------------------------------------
  ZS_INLINE static I lookup16(I index, const uint8_t* table) {
    const __m256i row = _mm256_broadcastsi128_si256(load128(table));
    return {_mm256_shuffle_epi8(row, index.lo), _mm256_shuffle_epi8(row, index.hi)};
  }
  ZS_INLINE static I bsub(I a, uint8_t n) {
    const __m256i m = _mm256_set1_epi8(static_cast<char>(n));
    return {_mm256_sub_epi8(a.lo, m), _mm256_sub_epi8(a.hi, m)};
  }
  ZS_INLINE static I signed_bytes(I a) { return a; }
  ZS_INLINE static I even_u8(I a) { return iand(a, 0x00ff00ff); }
  ZS_INLINE static I odd_u8(I a) {
    return {_mm256_srli_epi16(a.lo, 8), _mm256_srli_epi16(a.hi, 8)};
  }
  ZS_INLINE static I even_s8(I a) {
    return {_mm256_srai_epi16(_mm256_slli_epi16(a.lo, 8), 8),
            _mm256_srai_epi16(_mm256_slli_epi16(a.hi, 8), 8)};
  }
  ZS_INLINE static I odd_s8(I a) {
    return {_mm256_srai_epi16(a.lo, 8), _mm256_srai_epi16(a.hi, 8)};
  }

  // --- integer products -----------------------------------------------------------------
  ZS_INLINE static I dot_pairs(I acc, I pairs, I x) {
    return {_mm256_add_epi32(acc.lo, _mm256_madd_epi16(pairs.lo, x.lo)),
            _mm256_add_epi32(acc.hi, _mm256_madd_epi16(pairs.hi, x.hi))};
  }
  template <int Max, int Index, int Count>
  ZS_INLINE static void dot(I& total, I& part, I u, I x) {
    scaled_dot<Max, Index, Count>(total, part, u, x, iset1(0x00010001));
  }
  // Products are summed in int16 for as many steps as cannot overflow; the multiplication that
  // widens the sum to int32 also applies the scale, which lies twice in a lane as int16. The
  // empty asm keeps each sum in its register: left alone, GCC 12 rearranges the additions, keeps
  // all products at once and spills most (Q4_K prefill: 0.18 TOPS a core, 0.26 with it).
  template <int Max, int Index, int Count>
  ZS_INLINE static void scaled_dot(I& total, I& part, I u, I x, I scale) {
    constexpr int kRun = Max == kSigned ? 1 : 32767 / (2 * Max * 127);
    static_assert(kRun >= 1, "two products must fit in int16");
    const I products = Max == kSigned ? multiply_signed(u, x) : multiply(u, x);
    part = Index % kRun == 0 ? products : add16(part, products);
    if constexpr (kRun > 1) asm("" : "+x"(part.lo), "+x"(part.hi));
    if constexpr (Index % kRun == kRun - 1 || Index == Count - 1) {
      total = dot_pairs(total, part, scale);
      asm("" : "+x"(total.lo), "+x"(total.hi));
    }
  }
  // Bytes times integers of 16 bits, two products a lane. All in `high`.
  ZS_INLINE static void wide_dot(I& high, I&, I u, I x02, I x13) {
    high = dot_pairs(high, even_u8(u), x02);
    high = dot_pairs(high, odd_u8(u), x13);
    asm("" : "+x"(high.lo), "+x"(high.hi));  // see scaled_dot
  }
  // Of each four lanes 0 and 2 go to `even`, 1 and 3 to `odd`, 16 bits each.
  ZS_INLINE static void store_pairs(void* even, void* odd, I a) {
    const __m256i words = _mm256_packs_epi32(a.lo, a.hi);  // of each half: 4 of lo, 4 of hi
    const __m256i apart = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0,
                                           1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i both = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(words, apart), order);
    _mm_storeu_si128(static_cast<__m128i*>(even), _mm256_castsi256_si128(both));
    _mm_storeu_si128(static_cast<__m128i*>(odd), _mm256_extracti128_si256(both, 1));
  }
  ZS_INLINE static I wide_sum(I high, I) { return high; }
  ZS_INLINE static I scale_u8(I bytes, int i) {
    const __m256i twice =
        _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(0x80008000u) | i | i << 16),
                         _mm256_setr_epi32(0, 0x00040004, 0x00080008, 0x000c000c, 0, 0x00040004,
                                           0x00080008, 0x000c000c));
    return {_mm256_shuffle_epi8(bytes.lo, twice), _mm256_shuffle_epi8(bytes.hi, twice)};
  }
  ZS_INLINE static I scale_s8(I bytes, int i) {
    const I twice = scale_u8(bytes, i);
    return even_s8(twice);
  }

 private:
  ZS_INLINE static __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  ZS_INLINE static __m128i load128(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }
  ZS_INLINE static I add16(I a, I b) {
    return {_mm256_add_epi16(a.lo, b.lo), _mm256_add_epi16(a.hi, b.hi)};
  }
  ZS_INLINE static I multiply(I u, I x) {
    return {_mm256_maddubs_epi16(u.lo, x.lo), _mm256_maddubs_epi16(u.hi, x.hi)};
  }
  ZS_INLINE static I multiply_signed(I w, I x) {  // |w| <= 128 and |x| <= 127: no overflow
    return {_mm256_maddubs_epi16(_mm256_abs_epi8(w.lo), _mm256_sign_epi8(x.lo, w.lo)),
            _mm256_maddubs_epi16(_mm256_abs_epi8(w.hi), _mm256_sign_epi8(x.hi, w.hi))};
  }
};

}  // namespace
}  // namespace zs::kernels
