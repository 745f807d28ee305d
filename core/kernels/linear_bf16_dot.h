// BF16 weights times activations rounded to BF16, two columns an instruction, twice the
// arithmetic of FMA. The roundings are those of the instructions, so the bits differ from those of
// every other kernel: only on request (docs/adr/0005).
//
// The order is that of TDPBF16PS over 32 columns, so that tiles (linear_bf16_tiles.h) give the
// same bits. For each 32 columns, counted from the first of the row and filled up with zeros:
//
//   even = odd = 0;  for j < 16: even = fma(w[2j], x[2j], even), odd = fma(w[2j+1], x[2j+1], odd)
//   acc = acc + (even + odd)
//
// each rounded to nearest even, denormals zero in and out. VDPBF16PS does the FMA of the upper
// halves of its pairs, then that of the lower ones; so a pair here is two columns of one sum.
//
// Dot is Bf16DotUnit (bf16_dot_unit.h) or, on any machine, Bf16DotModel (bf16_dot_model.h):
//
//   using V;                             // the vector class around it
//   struct Use { Use(); ~Use(); };       // while one exists, V::add takes denormals as zero too
//   static F dot(F sum, I w, I x);       // VDPBF16PS
//   static void quad(const uint8_t* packed, I& even, I& odd);
//       // of 4 packed columns: 0 above and 2 below in each lane, and 1 above and 3 below
//   static I pair(const uint8_t* packed);   // of 2 columns: 1 above and 0 below
//   static void round_quads(const float* from, size_t n, uint32_t* x);
//       // n <= 32 values and zeros, as 8 times the pairs of quad
//   static void round(const float* from, size_t n, uint16_t* x);  // the same in their own order
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/bf16_pairs.h"
#include "kernels/linear_matmul.h"
#include "quant/bf16.h"

namespace zs::kernels {
namespace {

template <class Dot>
struct Bf16DotKernel {
  using V = typename Dot::V;
  using Codec = quant::BF16;
  using F = typename V::F;
  using I = typename V::I;

  static constexpr size_t kChunkColumns = 64;
  static constexpr bool kPrefetchAlone = true;
  static constexpr int kDirectTokens = V::kWide ? 8 : V::kTileTokens;
  static constexpr size_t kDirectLimit = kPassTokens;
  static constexpr int kTilePanels = 1, kTileTokens = 1;
  struct Chunk {};
  static_assert(kChunkColumns % kBf16Columns == 0);

  template <int T>
  ZS_INLINE static void direct(const Span& span, const Activations& a, const size_t* at, F* acc) {
    // All of them before the first product, or the compiler moves pairs from register to register.
    alignas(64) uint32_t x[T][kChunkColumns / 2];
    for (size_t k = 0; k < span.columns; k += kBf16Columns) {
      unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
        Dot::round_quads(a.f + at[t] + k, step_columns(span, k), x[t] + k / 2);
      });
    }
    for (size_t k = 0; k < span.columns; k += kBf16Columns) {
      alignas(64) uint8_t filled[kBf16Columns * kBf16Column];
      const uint8_t* packed = span.panel + (span.begin + k) * kBf16Column;
      add_step<T>(bf16_columns(packed, step_columns(span, k), filled), x, k / 2, acc);
    }
  }

 private:
  ZS_INLINE static size_t step_columns(const Span& span, size_t k) {
    const size_t left = span.columns - k;
    return left < kBf16Columns ? left : kBf16Columns;
  }

  template <int T>
  ZS_INLINE static void add_step(const uint8_t* packed, const uint32_t (*x)[kChunkColumns / 2],
                                 size_t first, F* acc) {
    F even[T], odd[T];
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA { even[t] = odd[t] = V::zero(); });
    for (size_t i = first; i < first + kBf16Columns / 2; i += 2, packed += 4 * kBf16Column) {
      I w_even, w_odd;
      Dot::quad(packed, w_even, w_odd);
      unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
        even[t] = Dot::dot(even[t], w_even, V::iset1(static_cast<int32_t>(x[t][i])));
        odd[t] = Dot::dot(odd[t], w_odd, V::iset1(static_cast<int32_t>(x[t][i + 1])));
      });
    }
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA { acc[t] = V::add(acc[t], V::add(even[t], odd[t])); });
  }
};

template <class Dot>
void bf16_dot_matmul(const MatmulJob& job) {
  const typename Dot::Use use;
  Matmul<Bf16DotKernel<Dot>>::run(job);
}

}  // namespace
}  // namespace zs::kernels
