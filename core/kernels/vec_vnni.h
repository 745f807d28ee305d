// AVX2 with dot products of four bytes: the AVX-VNNI of processors without AVX-512. Dot is
// VnniUnit (vnni_unit.h) or, on any AVX2 machine, VnniModel (vnni_model.h):
//
//   static __m256i bytes(__m256i sum, __m256i u, __m256i x);  // + 4 uint8 * int8, each int32
//   static __m256i pairs(__m256i sum, __m256i a, __m256i b);  // + 2 int16 * int16
#pragma once

#include "kernels/vec_avx2.h"

namespace zs::kernels {
namespace {

template <class Dot>
struct VnniVec : Avx2Vec {
  static constexpr size_t kDirectLimit = 4;
  static constexpr int kTilePanels = 1, kTileTokens = 3;  // two sums a token, in 16 registers
  static constexpr bool kSignedBytes = false;
  static constexpr bool kPrefetchPages = true;
  static constexpr bool kPrefetchParts = true;
  static constexpr size_t kFarAhead = 3584;
  static constexpr bool kPairs = false;

  ZS_INLINE static I signed_bytes(I a) {
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
    return {_mm256_xor_si256(a.lo, flip), _mm256_xor_si256(a.hi, flip)};
  }
  ZS_INLINE static I dot_pairs(I acc, I pairs, I x) {
    return {Dot::pairs(acc.lo, pairs.lo, x.lo), Dot::pairs(acc.hi, pairs.hi, x.hi)};
  }
  template <int Max, int Index, int Count>
  ZS_INLINE static void dot(I& total, I&, I u, I x) {
    total = {Dot::bytes(total.lo, u.lo, x.lo), Dot::bytes(total.hi, u.hi, x.hi)};
    keep(total);
  }
  template <int Max, int Index, int Count>
  ZS_INLINE static void scaled_dot(I& total, I& part, I u, I x, I scale) {
    if constexpr (Index == 0) part = izero();
    part = {Dot::bytes(part.lo, u.lo, x.lo), Dot::bytes(part.hi, u.hi, x.hi)};
    keep(part);
    if constexpr (Index == Count - 1) total = iadd(total, imul(part, scale));
  }
  ZS_INLINE static void wide_dot(I& high, I& low, I u, I xh, I xl) {
    high = {Dot::bytes(high.lo, u.lo, xh.lo), Dot::bytes(high.hi, u.hi, xh.hi)};
    low = {Dot::bytes(low.lo, u.lo, xl.lo), Dot::bytes(low.hi, u.hi, xl.hi)};
    keep(high);
    keep(low);
  }
  ZS_INLINE static I wide_sum(I high, I low) { return iadd(ishl(high, 7), low); }
  ZS_INLINE static I scale_u8(I bytes, int i) { return iand(ishr(bytes, 8 * i), 0xff); }
  ZS_INLINE static I scale_s8(I bytes, int i) {
    return {_mm256_srai_epi32(_mm256_slli_epi32(bytes.lo, 24 - 8 * i), 24),
            _mm256_srai_epi32(_mm256_slli_epi32(bytes.hi, 24 - 8 * i), 24)};
  }

 private:
  // In its register, in this order (see Avx2Vec::scaled_dot).
  ZS_INLINE static void keep(I& a) { asm("" : "+x"(a.lo), "+x"(a.hi)); }
};

}  // namespace
}  // namespace zs::kernels
