// What a 16-lane vector class offers to the kernel templates. Each of vec_scalar.h,
// vec_avx2.h and vec_avx512.h defines, in an anonymous namespace (so that the linker cannot
// mix instruction sets), one struct (ScalarVec, Avx2Vec, Avx512Vec) with the static members
// below; templates take it as `V`.
//
//   static constexpr bool kWide = ...;  // 32 registers of 16 lanes, not 16 of 8
//   static constexpr int kDirectTokens, kDirectLimit;  // linear_matmul.h: what the registers
//   static constexpr int kTilePanels, kTileTokens;     // hold, and is fastest (Zen 4; AVX2: Zen 3)
//   static constexpr bool kSignedBytes = ...;  // see kSigned below
//   static constexpr bool kPrefetchPages = ...;  // attention gains from prefetching (measured)
//   static constexpr bool kPrefetchParts = ...;  // few tokens gain from prefetch_part (measured)
//   static constexpr size_t kFarAhead = ...;  // then also into the second level, so many bytes
//                                             // ahead; 0: no gain (measured)
//   using F = ...;   // 16 floats  (float[16], 2 x __m256, __m512)
//   using I = ...;   // 16 int32; also 64 bytes, four per lane, the lowest first in memory
//
// floats:   F zero(); F set1(float); F load(const float*); void store(float*, F);
//           F load_n(const float*, int n)   // 0 <= n <= 16; lanes >= n are 0 and not read
//           void store_n(float*, F, int n)
//           F load_f16(const uint16_t*); F load_bf16(const uint16_t*)
//           void store_f16(uint16_t*, F)    // round to nearest even
//           F add, sub, mul, div (F, F); F sqrt(F); F abs(F)
//           F max(a, b)     // a > b ? a : b;  F min(a, b)  // a < b ? a : b
//           F select_lt(a, b, x, y)  // a < b ? x : y
//           F fma(a, b, c)  // a*b + c, one rounding;  F fnma(a, b, c)  // -(a*b) + c
//           F from_int(I);  I round_int(F)  // nearest even; |x| < 2^31
//           F round(F)      // nearest even; F pow2(F n)  // 2^n for integral n in -126..127
//           float sum(F); float max_of(F)   // fixed tree: lane i with i+8, then 4, 2, 1
// int32:    I izero(); I iset1(int32_t); I iload(const void*); void istore(void*, I)
//           I iload_u16(const uint16_t*)    // widened to int32
//           I iload_u8(const uint8_t*)
//           I iadd, isub, imul, ior, imax (I, I); I iand(I, int32_t)
//           I ishl(I, int); I ishr(I, int)  // each lane; right shift is logical
//           F bits_to_float(I); I float_to_bits(F)  // reinterpretation
//           int32_t isum(I)                 // of the 16 lanes
//           int32_t imax_of(I)
//           void store_i8(int8_t*, I)       // the low byte of each lane
// bytes:    I lookup16(I index, const uint8_t* table)  // every byte of index is < 16
//           I bsub(I, uint8_t)              // subtracts from every byte, modulo 256
//           I even_u8(I), odd_u8(I), even_s8(I), odd_s8(I)
//                                           // bytes 0, 2 or 1, 3 of a lane as two int16
// for tiles (not in Avx2Vec), lanes being two int16, modulo 2^16:
//           I twice16(I)                    // the low int16 in both; I mul16, sub16 (I, I)
//           I low_bytes(I even, I odd), high_bytes(I even, I odd)
//                                           // those of even in bytes 0, 2, of odd in 1, 3
// integer products, exact: x holds in every lane the same 4 int8 in -127..127
//           I dot_pairs(I acc, I pairs, I x)  // acc + sum of 2 int16 * int16
//           void dot<Max, Index, Count>(I& total, I& part, I u, I x)
//             // Step Index of Count: total += sum of 4 u * x, with bytes u in 0..Max. The sum
//             // is in `total` only after the last step; `part` needs no initial value.
//           void scaled_dot<Max, Index, Count>(I& total, I& part, I u, I x, I scale)
//             // The same, times a scale of each lane that scale_u8 or scale_s8 made.
//           I scale_u8(I bytes, int i), scale_s8(I bytes, int i)  // byte i of each lane
//           Max = kSigned (255): bytes are signed. Where kSignedBytes is false they are
//             stored plus 128 (signed_bytes(I) does that), and the caller subtracts 128 times
//             the sum of x; where it is true they stay as they are.
//           static constexpr bool kPairs = ...;  // how integers of 16 bits are given below
//           void wide_dot(I& high, I& low, I u, I x, I y)
//             // Adds 4 unsigned bytes u times 4 integers, the same in every lane. Without
//             // kPairs these are 128 * x + y, four int8 in -64..64 each; with it x has integers
//             // 0 and 2 and y has 1 and 3, two int16 each.
//           I wide_sum(I high, I low)       // what wide_dot has added, from high = low = 0
//           void store_pairs(void* even, void* odd, I)  // with kPairs: 16 lanes as such x and y
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/unroll.h"
#include "quant/codec.h"

namespace zs::kernels {

using quant::kPanelRows;
using quant::kSigned;

namespace {

// Into the second-level cache.
ZS_INLINE void prefetch(const uint8_t* from, size_t bytes) {
  constexpr int kRead = 0, kSecondLevel = 2;
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, kRead, kSecondLevel);
}

// Part `part` of `Parts` of the lines of `Bytes` into the cache of a level, 1 or 2, by instructions
// that stay between the work around them: of __builtin_prefetch GCC 12 gathers many in one place,
// where they wait for each other and the work for them.
template <size_t Parts, size_t Bytes, int Level = 1>
ZS_INLINE void prefetch_part(const uint8_t* from, size_t part) {
  constexpr size_t kLines = (Bytes + 63) / 64;
  for (size_t line = part * kLines / Parts; line < (part + 1) * kLines / Parts; ++line) {
#ifdef __x86_64__
    if constexpr (Level == 1) {
      asm volatile("prefetcht0 %0" : : "m"(from[64 * line]));
    } else {
      asm volatile("prefetcht1 %0" : : "m"(from[64 * line]));
    }
#else
    __builtin_prefetch(from + 64 * line, 0, Level == 1 ? 3 : 2);
#endif
  }
}

}  // namespace
}  // namespace zs::kernels
