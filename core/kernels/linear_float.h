// Products of float weights: acc = fma(w, x, acc) for each column in order.
#pragma once

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
  static constexpr int kTilePanels = 1;
  static constexpr int kTileTokens = V::kTileTokens;
  static constexpr size_t kPanelBlock = kPanelRows * sizeof(typename C::Block);

  struct alignas(64) Chunk {
    F values[kChunkColumns];
  };

  static void unpack(const uint8_t* packed, size_t columns, Chunk& chunk) {
    for (size_t k = 0; k < columns; ++k) {
      chunk.values[k] = C::template values<V>(packed + k * kPanelBlock);
    }
  }

  template <int P, int T>
  ZS_INLINE static void tile(const Chunk* chunk, size_t columns, const Activations& a,
                             const size_t* at, F (*acc)[T]) {
    for (size_t k = 0; k < columns; ++k) add<T>(chunk->values[k], a, at, k, *acc);
  }

  template <int T>
  ZS_INLINE static void direct(const uint8_t* packed, size_t columns, const Activations& a,
                               const size_t* at, F* acc) {
    for (size_t k = 0; k < columns; ++k) {
      add<T>(C::template values<V>(packed + k * kPanelBlock), a, at, k, acc);
    }
  }

 private:
  template <int T>
  ZS_INLINE static void add(F w, const Activations& a, const size_t* at, size_t k, F* acc) {
    unroll<T>([&](auto t)
                  ZS_INLINE_LAMBDA { acc[t] = V::fma(w, V::set1(a.f[at[t] + k]), acc[t]); });
  }
};

}  // namespace
}  // namespace zs::kernels
