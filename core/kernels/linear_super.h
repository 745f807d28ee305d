// Products of super-blocks: 256 values, an integer scale per group, one float scale
// (K-quants, IQ4_XS). Of each block and row, in exact integers,
//
//   total = sum over groups of scale * (sum of value * x)
//   low   = sum over groups of minimum * (sum of x)
//
// and in float, in this order, acc = fma(d * dx, total, acc); acc = fma(-(dmin * dx), low, acc).
#pragma once

#include "kernels/linear_matmul.h"
#include "kernels/table.h"
#include "kernels/tile_sums.h"
#include "kernels/vec.h"

namespace zs::kernels {
namespace {

template <class Vec, class C>
struct SuperKernel {
  using V = Vec;
  using Codec = C;
  using F = typename V::F;
  using I = typename V::I;

  static constexpr size_t kChunkColumns = 256;
  static constexpr bool kPrefetchAlone = C::kPrefetchAlone;
  static constexpr int kDirectTokens = V::kDirectTokens;
  static constexpr size_t kDirectLimit = V::kDirectLimit;
  static constexpr int kTilePanels = V::kTilePanels, kTileTokens = V::kTileTokens;
  static constexpr size_t kPanelBytes = kPanelRows * sizeof(typename C::Block);
  static constexpr int kGroups = 256 / C::kGroup, kSteps = C::kGroup / 4;
  static constexpr int kOffset =
      C::kMax == kSigned ? (V::kSignedBytes ? 0 : 128) : C::kOffset;  // subtracted by low
  static constexpr bool kLow = C::kMinimum || kOffset != 0;

  // Ranges of int32, whatever the bytes of a corrupt file: values reach kMax in magnitude.
  static_assert(int64_t{C::kMax} * 127 * 256 * C::kScaleLimit < (int64_t{1} << 31));
  static_assert(int64_t{kOffset} * 127 * 256 * C::kScaleLimit < (int64_t{1} << 30));
  static_assert(int64_t{127} * 256 * C::kMinimumLimit < (int64_t{1} << 31));

  struct alignas(64) Chunk {
    uint8_t values[256 / 4][64];
    I scales[kGroups];
    I pairs[kLow ? kGroups / 2 : 1];
    F d, dmin;
  };

  static void unpack(const Span& span, Chunk& chunk) {
    const ConstPanelBlock packed = block_of(span);
    I scales[kGroups / 4];
    C::template scales<V>(packed, scales);
    unroll<kGroups>([&](auto g) ZS_INLINE_LAMBDA { chunk.scales[g] = scale<g.value>(scales); });
    if constexpr (kLow) make_pairs(packed, scales, chunk.pairs);
    chunk.d = C::template scale<V>(packed);
    if constexpr (C::kMinimum) chunk.dmin = C::template minimum<V>(packed);
    unroll<C::kUnits>([&](auto unit) ZS_INLINE_LAMBDA {
      C::template values<V, unit.value>(
          packed, [&](auto slot, auto step, I bytes) ZS_INLINE_LAMBDA {
            constexpr int kGroup = C::group(unit.value, slot.value);
            V::istore(chunk.values[kGroup * kSteps + step.value], bytes);
          });
    });
  }

  template <int P, int T>
  ZS_INLINE static void tile(const Chunk* chunk, size_t, const Activations& a, const size_t* at,
                             F (*acc)[T], const uint8_t* ahead) {
    I total[P][T];
    const int8_t* x[T];
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
      x[t] = a.q + at[t];
      unroll<P>([&](auto p) ZS_INLINE_LAMBDA { total[p][t] = V::izero(); });
    });
    for (int g = 0; g < kGroups; ++g) {
      if (V::kPrefetchParts && ahead) prefetch_part<kGroups, kPanelBytes>(ahead, g);
      I part[P][T];
      unroll<kSteps>([&](auto step) ZS_INLINE_LAMBDA {
        I w[P];
        unroll<P>([&](auto p)
                      ZS_INLINE_LAMBDA { w[p] = V::iload(chunk[p].values[g * kSteps + step]); });
        unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
          const I x4 = broadcast32(x[t] + g * C::kGroup + 4 * step);
          unroll<P>([&](auto p) ZS_INLINE_LAMBDA {
            V::template scaled_dot<C::kMax, step.value, kSteps>(total[p][t], part[p][t], w[p], x4,
                                                                chunk[p].scales[g]);
          });
        });
      });
    }
    I low[P][T];
    if constexpr (kLow) {
      unroll<P>([&](auto p) ZS_INLINE_LAMBDA { sum_low<T>(chunk[p].pairs, a, at, low[p]); });
    }
    unroll<P>([&](auto p) ZS_INLINE_LAMBDA {
      finish<T>(chunk[p].d, chunk[p].dmin, a, at, total[p], low[p], acc[p]);
    });
  }

  // For tiles, which sum over whole blocks: values less their offset, times the scale of their
  // group, which is exact in 16 bits.
  static constexpr bool kTwoBytes =
      kOffset != 0 || C::kSignedScales || C::kMax * C::kScaleLimit > 255;
  static constexpr int kMagnitude = C::kMax > kOffset ? C::kMax - kOffset : 0;
  static_assert((kMagnitude > kOffset ? kMagnitude : kOffset) * C::kScaleLimit < 1 << 15);
  static_assert(C::kMax * C::kScaleLimit < 1 << 15);

  struct alignas(64) TileChunk {
    uint8_t low[256 / 4][64];
    int8_t high[kTwoBytes ? 256 / 4 : 1][64];
    I pairs[C::kMinimum ? kGroups / 2 : 1];
    F d, dmin;
  };

  static void unpack_tiles(const Span& span, TileChunk& chunk) {
    const ConstPanelBlock packed = block_of(span);
    I scales[kGroups / 4], factors[kGroups], offsets[kGroups];
    C::template scales<V>(packed, scales);
    unroll<kGroups>([&](auto g) ZS_INLINE_LAMBDA {
      factors[g] = V::twice16(scale<g.value>(scales));
      offsets[g] = V::mul16(factors[g], V::iset1(kOffset << 16 | kOffset));
    });
    chunk.d = C::template scale<V>(packed);
    if constexpr (C::kMinimum) {
      make_pairs(packed, scales, chunk.pairs);
      chunk.dmin = C::template minimum<V>(packed);
    }
    unroll<C::kUnits>([&](auto unit) ZS_INLINE_LAMBDA {
      C::template values<V, unit.value>(packed,
                                        [&](auto slot, auto step, I bytes) ZS_INLINE_LAMBDA {
                                          constexpr int kGroup = C::group(unit.value, slot.value);
                                          constexpr int kAt = kGroup * kSteps + step.value;
                                          I even = V::mul16(V::even_u8(bytes), factors[kGroup]);
                                          I odd = V::mul16(V::odd_u8(bytes), factors[kGroup]);
                                          if constexpr (kOffset != 0) {
                                            even = V::sub16(even, offsets[kGroup]);
                                            odd = V::sub16(odd, offsets[kGroup]);
                                          }
                                          V::istore(chunk.low[kAt], V::low_bytes(even, odd));
                                          if constexpr (kTwoBytes)
                                            V::istore(chunk.high[kAt], V::high_bytes(even, odd));
                                        });
    });
  }

  template <class Tiles, class Acc>
  static void tiles(const TileChunk* chunks, size_t panels, size_t, const Activations& a,
                    const TileTokens& tile, Acc&& acc) {
    static_assert(!V::kSignedBytes, "values plus their offset");
    TileBytes bytes[kTilePanels];
    TileSums sums[kTilePanels];
    for (size_t p = 0; p < panels; ++p) bytes[p] = {chunks[p].low[0], chunks[p].high[0]};
    Tiles::template product256<kTwoBytes>(tile.x, tile.stride, bytes, panels, sums);
    for (size_t p = 0; p < panels; ++p) {
      const TileChunk& chunk = chunks[p];
      for (size_t t = 0; t < tile.tokens; ++t) {
        I total = V::iload(sums[p].low[t]), low[1];
        if constexpr (kTwoBytes) total = V::iadd(total, V::ishl(V::iload(sums[p].high[t]), 8));
        if constexpr (C::kMinimum) sum_low<1>(chunk.pairs, a, tile.at + t, low);
        F sum = V::load(acc(t, p));
        add_block(chunk.d, chunk.dmin, a, tile.at[t], total, low[0], sum);
        V::store(acc(t, p), sum);
      }
    }
  }

  template <int T>
  ZS_INLINE static void direct(const Span& span, const Activations& a, const size_t* at, F* acc) {
    const ConstPanelBlock packed = block_of(span);
    I scales[kGroups / 4], total[T], low[T];
    C::template scales<V>(packed, scales);
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA { total[t] = V::izero(); });
    unroll<C::kUnits>([&](auto unit) ZS_INLINE_LAMBDA {
      fetch_ahead<V, T, C::kUnits, kPanelBytes>(packed.body, unit.value);
      I part[C::kUnitGroups][T];
      C::template values<V, unit.value>(
          packed, [&](auto slot, auto step, I bytes) ZS_INLINE_LAMBDA {
            constexpr int kGroup = C::group(unit.value, slot.value);
            unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
              const I x4 = broadcast32(a.q + at[t] + kGroup * C::kGroup + 4 * step.value);
              V::template scaled_dot<C::kMax, step.value, kSteps>(total[t], part[slot][t], bytes,
                                                                  x4, scale<kGroup>(scales));
            });
          });
    });
    if constexpr (kLow) {
      I pairs[kGroups / 2];
      make_pairs(packed, scales, pairs);
      sum_low<T>(pairs, a, at, low);
    }
    F dmin = V::zero();
    if constexpr (C::kMinimum) dmin = C::template minimum<V>(packed);
    finish<T>(C::template scale<V>(packed), dmin, a, at, total, low, acc);
  }

 private:
  using ConstPanelBlock = quant::ConstPanelBlock;
  ZS_INLINE static ConstPanelBlock block_of(const Span& span) {
    return quant::panel_block<C>(span.panel, span.begin / 256, span.total / 256);
  }
  ZS_INLINE static I broadcast32(const void* from) {
    return V::iset1(static_cast<int32_t>(quant::load32(from)));
  }
  template <int G>
  ZS_INLINE static I scale(const I* scales) {
    constexpr int kByte = quant::byte_of_group(G);
    return C::kSignedScales ? V::scale_s8(scales[G / 4], kByte) : V::scale_u8(scales[G / 4], kByte);
  }
  // What the sums of x are multiplied with, two groups a lane: minimums, or with a constant
  // offset the scales themselves.
  ZS_INLINE static void make_pairs(ConstPanelBlock packed, const I* scales, I* pairs) {
    I bytes[kGroups / 4];
    if constexpr (C::kMinimum) C::template minimums<V>(packed, bytes);
    unroll<kGroups / 4>([&](auto i) ZS_INLINE_LAMBDA {
      pairs[2 * i] = C::kMinimum ? V::even_u8(bytes[i]) : V::even_s8(scales[i]);
      pairs[2 * i + 1] = C::kMinimum ? V::odd_u8(bytes[i]) : V::odd_s8(scales[i]);
    });
  }
  template <int T>
  ZS_INLINE static void sum_low(const I* pairs, const Activations& a, const size_t* at, I* low) {
    const int16_t* all = C::kGroup == 16 ? a.sums16 : a.sums32;
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA { low[t] = V::izero(); });
    unroll<kGroups / 2>([&](auto i) ZS_INLINE_LAMBDA {
      unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
        low[t] = V::dot_pairs(low[t], pairs[i], broadcast32(all + at[t] / C::kGroup + 2 * i));
      });
    });
  }
  template <int T>
  ZS_INLINE static void finish(F d, F dmin, const Activations& a, const size_t* at, I* total,
                               const I* low, F* acc) {
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
      if constexpr (kOffset != 0) total[t] = V::isub(total[t], times_offset(low[t]));
      add_block(d, dmin, a, at[t], total[t], low[t], acc[t]);
    });
  }
  ZS_INLINE static void add_block(F d, F dmin, const Activations& a, size_t at, const I& total,
                                  const I& low, F& acc) {
    const F dx = V::set1(a.scales[at / 256]);
    acc = V::fma(V::mul(d, dx), V::from_int(total), acc);
    if constexpr (C::kMinimum) acc = V::fnma(V::mul(dmin, dx), V::from_int(low), acc);
  }
  ZS_INLINE static I times_offset(I low) {
    static_assert((kOffset & (kOffset - 1)) == 0, "a shift multiplies");
    int shift = 0;
    for (int n = kOffset; n > 1; n /= 2) ++shift;
    return V::ishl(low, shift);
  }
};

}  // namespace
}  // namespace zs::kernels
