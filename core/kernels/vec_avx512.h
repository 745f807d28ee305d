// The vector class on AVX-512 with VNNI: one register is the 16 lanes.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/vec.h"

namespace zs::kernels {
namespace {

struct Avx512Vec {
  static constexpr bool kWide = true;
  static constexpr int kDirectTokens = 8;
  static constexpr size_t kDirectLimit = 16;
  static constexpr int kTilePanels = 2, kTileTokens = 4;
  static constexpr bool kSignedBytes = false;
  static constexpr bool kPrefetchPages = false;
  static constexpr bool kPrefetchParts = false;
  static constexpr size_t kFarAhead = 0;
  static constexpr bool kPairs = false;

  using F = __m512;
  using I = __m512i;

  // --- floats ---------------------------------------------------------------------------
  ZS_INLINE static F zero() { return _mm512_setzero_ps(); }
  ZS_INLINE static F set1(float x) { return _mm512_set1_ps(x); }
  ZS_INLINE static F load(const float* p) { return _mm512_loadu_ps(p); }
  ZS_INLINE static void store(float* p, F a) { _mm512_storeu_ps(p, a); }
  ZS_INLINE static F load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  ZS_INLINE static void store_n(float* p, F a, int n) { _mm512_mask_storeu_ps(p, first(n), a); }
  ZS_INLINE static F load_f16(const uint16_t* p) { return _mm512_cvtph_ps(load256(p)); }
  ZS_INLINE static F load_bf16(const uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load256(p)), 16));
  }
  ZS_INLINE static void store_f16(uint16_t* p, F a) {
    const __m256i half =
        _mm512_maskz_cvtps_ph(0xffff, a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), half);
  }
  ZS_INLINE static F add(F a, F b) { return _mm512_add_ps(a, b); }
  ZS_INLINE static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  ZS_INLINE static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  ZS_INLINE static F div(F a, F b) { return _mm512_div_ps(a, b); }
  ZS_INLINE static F max(F a, F b) { return _mm512_max_ps(a, b); }
  ZS_INLINE static F min(F a, F b) { return _mm512_min_ps(a, b); }
  ZS_INLINE static F select_lt(F a, F b, F x, F y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
  }
  ZS_INLINE static F sqrt(F a) { return _mm512_sqrt_ps(a); }
  ZS_INLINE static F abs(F a) { return _mm512_abs_ps(a); }
  ZS_INLINE static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  ZS_INLINE static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  ZS_INLINE static F from_int(I a) { return _mm512_cvtepi32_ps(a); }
  ZS_INLINE static I round_int(F a) { return _mm512_cvtps_epi32(a); }
  ZS_INLINE static F round(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  ZS_INLINE static F pow2(F n) { return bits_to_float(ishl(iadd(round_int(n), iset1(127)), 23)); }
  ZS_INLINE static float sum(F a) {
    const __m256 s8 = _mm256_add_ps(low(a), high(a));
    const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
  }
  ZS_INLINE static float max_of(F a) {
    const __m256 s8 = _mm256_max_ps(low(a), high(a));
    const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_max_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
  }

  // --- int32 ----------------------------------------------------------------------------
  ZS_INLINE static I izero() { return _mm512_setzero_si512(); }
  ZS_INLINE static I iset1(int32_t x) { return _mm512_set1_epi32(x); }
  ZS_INLINE static I iload(const void* p) { return _mm512_loadu_si512(p); }
  ZS_INLINE static void istore(void* p, I a) { _mm512_storeu_si512(p, a); }
  ZS_INLINE static I iload_u16(const uint16_t* p) { return _mm512_cvtepu16_epi32(load256(p)); }
  ZS_INLINE static I iload_u8(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  ZS_INLINE static I iadd(I a, I b) { return _mm512_add_epi32(a, b); }
  ZS_INLINE static I isub(I a, I b) { return _mm512_sub_epi32(a, b); }
  ZS_INLINE static I imul(I a, I b) { return _mm512_mullo_epi32(a, b); }
  ZS_INLINE static I ior(I a, I b) { return _mm512_or_si512(a, b); }
  ZS_INLINE static I imax(I a, I b) { return _mm512_max_epi32(a, b); }
  ZS_INLINE static I iand(I a, int32_t mask) { return _mm512_and_si512(a, iset1(mask)); }
  ZS_INLINE static I ishl(I a, int n) { return _mm512_slli_epi32(a, n); }
  ZS_INLINE static I ishr(I a, int n) { return _mm512_srli_epi32(a, n); }
  ZS_INLINE static F bits_to_float(I a) { return _mm512_castsi512_ps(a); }
  ZS_INLINE static I float_to_bits(F a) { return _mm512_castps_si512(a); }
  ZS_INLINE static int32_t isum(I a) { return _mm512_reduce_add_epi32(a); }
  ZS_INLINE static int32_t imax_of(I a) { return _mm512_reduce_max_epi32(a); }
  ZS_INLINE static void store_i8(int8_t* p, I a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a));
  }

  // --- bytes ----------------------------------------------------------------------------
  ZS_INLINE static I lookup16(I index, const uint8_t* table) {
    const __m128i row = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(row), index);
  }
  ZS_INLINE static I bsub(I a, uint8_t n) {
    return _mm512_sub_epi8(a, _mm512_set1_epi8(static_cast<char>(n)));
  }
  ZS_INLINE static I signed_bytes(I a) {
    return _mm512_xor_si512(a, iset1(static_cast<int32_t>(0x80808080u)));
  }
  ZS_INLINE static I even_u8(I a) { return iand(a, 0x00ff00ff); }
  ZS_INLINE static I odd_u8(I a) { return _mm512_srli_epi16(a, 8); }
  ZS_INLINE static I even_s8(I a) { return _mm512_srai_epi16(_mm512_slli_epi16(a, 8), 8); }
  ZS_INLINE static I odd_s8(I a) { return _mm512_srai_epi16(a, 8); }

  ZS_INLINE static I twice16(I a) {
    return _mm512_or_si512(iand(a, 0xffff), _mm512_slli_epi32(a, 16));
  }
  ZS_INLINE static I mul16(I a, I b) { return _mm512_mullo_epi16(a, b); }
  ZS_INLINE static I sub16(I a, I b) { return _mm512_sub_epi16(a, b); }
  ZS_INLINE static I low_bytes(I even, I odd) {
    return _mm512_mask_blend_epi8(kOddBytes, even, _mm512_slli_epi16(odd, 8));
  }
  ZS_INLINE static I high_bytes(I even, I odd) {
    return _mm512_mask_blend_epi8(kOddBytes, _mm512_srli_epi16(even, 8), odd);
  }

  // --- integer products -----------------------------------------------------------------
  ZS_INLINE static I dot_pairs(I acc, I pairs, I x) { return _mm512_dpwssd_epi32(acc, pairs, x); }
  template <int Max, int Index, int Count>
  ZS_INLINE static void dot(I& total, I&, I u, I x) {
    total = _mm512_dpbusd_epi32(total, u, x);
  }
  template <int Max, int Index, int Count>
  ZS_INLINE static void scaled_dot(I& total, I& part, I u, I x, I scale) {
    part = _mm512_dpbusd_epi32(Index == 0 ? izero() : part, u, x);
    if constexpr (Index == Count - 1) total = iadd(total, imul(part, scale));
  }
  ZS_INLINE static void wide_dot(I& high, I& low, I u, I xh, I xl) {
    high = _mm512_dpbusd_epi32(high, u, xh);
    low = _mm512_dpbusd_epi32(low, u, xl);
  }
  ZS_INLINE static I wide_sum(I high, I low) { return iadd(ishl(high, 7), low); }
  ZS_INLINE static I scale_u8(I bytes, int i) { return iand(ishr(bytes, 8 * i), 0xff); }
  ZS_INLINE static I scale_s8(I bytes, int i) {
    return _mm512_srai_epi32(_mm512_slli_epi32(bytes, 24 - 8 * i), 24);
  }

 private:
  static constexpr __mmask64 kOddBytes = 0xaaaaaaaaaaaaaaaa;
  ZS_INLINE static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
  ZS_INLINE static __m256i load256(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  ZS_INLINE static __m256 low(F a) { return _mm512_castps512_ps256(a); }
  ZS_INLINE static __m256 high(F a) { return _mm512_extractf32x8_ps(a, 1); }
};

}  // namespace
}  // namespace zs::kernels
