// Products of blocks of 32 values with one float scale (and minimum) each: Q4_0 to Q8_0,
// IQ4_NL, M8P4. Of each block and row, total = sum of (value - offset) * x in exact integers,
// then in float acc = fma(d * dx, total, acc) and with a minimum acc = fma(m * dx, sum x, acc).
#pragma once

#include "kernels/linear_matmul.h"
#include "kernels/table.h"
#include "kernels/vec.h"

namespace zs::kernels {
namespace {

template <class Vec, class C>
struct LegacyKernel {
  using V = Vec;
  using Codec = C;
  using F = typename V::F;
  using I = typename V::I;

  static constexpr size_t kChunkColumns = 256, kBlock = 32;
  static constexpr int kBlocks = kChunkColumns / kBlock;
  static constexpr bool kPrefetchAlone = C::kPrefetchAlone;
  static constexpr int kDirectTokens = V::kDirectTokens;
  static constexpr size_t kDirectLimit = V::kDirectLimit;
  static constexpr int kTilePanels = V::kTilePanels, kTileTokens = V::kTileTokens;
  static constexpr int kSteps = 8;
  static constexpr size_t kPanelBytes = kPanelRows * sizeof(typename C::Block);
  static constexpr int kOffset = C::kMax == kSigned ? (V::kSignedBytes ? 0 : 128) : C::kOffset;

  struct alignas(64) Chunk {
    uint8_t values[kBlocks][kSteps][64];
    F d[kBlocks], m[kBlocks];
  };

  static void unpack(const Span& span, Chunk& chunk) {
    for (size_t b = 0; b < span.columns / kBlock; ++b) {
      const ConstPanelBlock packed = block_of(span, b);
      chunk.d[b] = C::template scale<V>(packed);
      if constexpr (C::kMinimum) chunk.m[b] = C::template minimum<V>(packed);
      C::template values<V, 0>(packed, [&](auto, auto step, I bytes) ZS_INLINE_LAMBDA {
        V::istore(chunk.values[b][step], bytes);
      });
    }
  }

  template <int P, int T>
  ZS_INLINE static void tile(const Chunk* chunk, size_t columns, const Activations& a,
                             const size_t* at, F (*acc)[T], const uint8_t* ahead) {
    for (size_t b = 0; b < columns / kBlock; ++b) {
      if (V::kPrefetchParts && ahead) prefetch_part<kBlocks, kBlocks * kPanelBytes>(ahead, b);
      I total[P][T], part[P][T];
      unroll<P>([&](auto p) ZS_INLINE_LAMBDA { start<T>(a, at, b, total[p]); });
      unroll<kSteps>([&](auto step) ZS_INLINE_LAMBDA {
        I w[P];
        unroll<P>([&](auto p) ZS_INLINE_LAMBDA { w[p] = V::iload(chunk[p].values[b][step]); });
        unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
          const I x4 = broadcast32(a.q + at[t] + b * kBlock + 4 * step);
          unroll<P>([&](auto p) ZS_INLINE_LAMBDA {
            V::template dot<C::kMax, step.value, kSteps>(total[p][t], part[p][t], w[p], x4);
          });
        });
      });
      unroll<P>([&](auto p) ZS_INLINE_LAMBDA {
        finish<T>(chunk[p].d[b], chunk[p].m[b], a, at, b, total[p], acc[p]);
      });
    }
  }

  using TileChunk = Chunk;
  static void unpack_tiles(const Span& span, Chunk& chunk) { unpack(span, chunk); }

  template <class Tiles, class Acc>
  static void tiles(const Chunk* chunks, size_t panels, size_t columns, const Activations& a,
                    const TileTokens& tile, Acc&& acc) {
    for (size_t p = 0; p < panels; ++p) {
      tiles_of<Tiles>(chunks[p], columns, a, tile, [&](size_t t) { return acc(t, p); });
    }
  }
  template <int T>
  ZS_INLINE static void direct(const Span& span, const Activations& a, const size_t* at, F* acc) {
    for (size_t b = 0; b < span.columns / kBlock; ++b) {
      const ConstPanelBlock packed = block_of(span, b);
      fetch_ahead<V, T, 1, kPanelBytes>(packed.body, 0);
      I total[T], part[T];
      start<T>(a, at, b, total);
      C::template values<V, 0>(packed, [&](auto, auto step, I w) ZS_INLINE_LAMBDA {
        unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
          const I x4 = broadcast32(a.q + at[t] + b * kBlock + 4 * step);
          V::template dot<C::kMax, step.value, kSteps>(total[t], part[t], w, x4);
        });
      });
      F m = V::zero();
      if constexpr (C::kMinimum) m = C::template minimum<V>(packed);
      finish<T>(C::template scale<V>(packed), m, a, at, b, total, acc);
    }
  }

 private:
  using ConstPanelBlock = quant::ConstPanelBlock;
  ZS_INLINE static ConstPanelBlock block_of(const Span& span, size_t b) {
    return quant::panel_block<C>(span.panel, span.begin / kBlock + b, span.total / kBlock);
  }
  ZS_INLINE static I broadcast32(const void* from) {
    return V::iset1(static_cast<int32_t>(quant::load32(from)));
  }
  template <class Tiles, class Acc>
  static void tiles_of(const Chunk& chunk, size_t columns, const Activations& a,
                       const TileTokens& tile, Acc&& acc) {
    static_assert(!V::kSignedBytes, "products of unsigned bytes");
    alignas(64) int32_t product[kBlocks][kTileRows][kPanelRows];
    const size_t blocks = columns / kBlock;
    for (size_t b = 0; b < blocks; ++b) {
      Tiles::product32(tile.x + b * kBlock, tile.stride, chunk.values[b][0], product[b]);
    }
    for (size_t t = 0; t < tile.tokens; ++t) {
      F sum[1] = {V::load(acc(t))};
      for (size_t b = 0; b < blocks; ++b) {
        I total[1];
        start<1>(a, tile.at + t, b, total);
        total[0] = V::iadd(total[0], V::iload(product[b][t]));
        finish<1>(chunk.d[b], chunk.m[b], a, tile.at + t, b, total, sum);
      }
      V::store(acc(t), sum[0]);
    }
  }
  template <int T>
  ZS_INLINE static void start(const Activations& a, const size_t* at, size_t b, I* total) {
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
      total[t] = kOffset == 0 ? V::izero() : V::iset1(-kOffset * a.sums32[at[t] / kBlock + b]);
    });
  }
  template <int T>
  ZS_INLINE static void finish(F d, F m, const Activations& a, const size_t* at, size_t b,
                               const I* total, F* acc) {
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
      const size_t block = at[t] / kBlock + b;
      const F dx = V::set1(a.scales[block]);
      acc[t] = V::fma(V::mul(d, dx), V::from_int(total[t]), acc[t]);
      if constexpr (C::kMinimum) {
        const F sum = V::set1(static_cast<float>(a.sums32[block]));
        acc[t] = V::fma(V::mul(m, dx), sum, acc[t]);
      }
    });
  }
};

}  // namespace
}  // namespace zs::kernels
