// Products of float weights: acc = fma(w, x, acc) for each column in order.
#pragma once

#include "kernels/linear_matmul.h"
#include "kernels/table.h"
#include "kernels/vec.h"

namespace zs::kernels {
namespace {

template <class Vec, class C>
struct FloatKernel {
  using V = Vec;
  using Codec = C;
  using F = typename V::F;

  static constexpr size_t kChunkColumns = 64;
  static constexpr bool kPrefetchAlone = true;
  // Always direct: a conversion serves a whole tile of tokens.
  static constexpr int kDirectTokens = V::kWide ? 8 : V::kTileTokens;
  static constexpr size_t kDirectLimit = kPassTokens;
  static constexpr int kTilePanels = 1, kTileTokens = 1;
  struct Chunk {};

  template <int T>
  ZS_INLINE static void direct(const Span& span, const Activations& a, const size_t* at, F* acc) {
    constexpr size_t kPanelBlock = kPanelRows * sizeof(typename C::Block);
    const uint8_t* packed = span.panel + span.begin * kPanelBlock;
    for (size_t k = 0; k < span.columns; ++k, packed += kPanelBlock) {
      fetch_ahead<V, T, 1, kPanelBlock>(packed, 0);
      const F w = C::template values<V>(packed);
      unroll<T>([&](auto t)
                    ZS_INLINE_LAMBDA { acc[t] = V::fma(w, V::set1(a.f[at[t] + k]), acc[t]); });
    }
  }
};

}  // namespace
}  // namespace zs::kernels
