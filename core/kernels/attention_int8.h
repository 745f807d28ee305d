// Pages of int8 keys and values (kv_page.h), for attention.h.
//
// Queries, and probabilities times the scale of the value they weigh, become integers up to 8192,
// of two parts, 128 * high + low, where the processor multiplies bytes alone, so that rounding them
// adds little to the error of the cache. Then scores and values are sums of integers, exact in any
// order; each is converted to float once a page (docs/adr/0009).
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/kv_page.h"
#include "kernels/vec.h"

namespace zs::kernels {
namespace {

template <class V>
struct Int8Pages {
  using F = typename V::F;
  using I = typename V::I;
  // Queries of the register tile, and its vectors: each has two accumulators, one with pairs.
  static constexpr int kQ = V::kPairs ? 4 : 2;
  static constexpr int kSums = V::kWide ? 8 : V::kPairs ? 4 : 2;

  // value[i] = scale * integer[i], and the sum of the integers, of which each four are in four
  // bytes of `first` and four of `second`: their high and low parts, or integers 0 and 2 and
  // integers 1 and 3 whole.
  template <int N>
  struct Split {
    alignas(64) int8_t first[N], second[N];
    float scale;
    int32_t sum;
  };

  explicit Int8Pages(const AttentionTile& t) : tile(t) {
    for (int q = 0; q < tile.queries; ++q) split(tile.query[q], tile.head_dim, query[q]);
  }

  template <int Q>
  inline void scores(int first, int page, float (*scores)[kPagePositions]) const {
    constexpr int C = kSums / Q < 4 ? kSums / Q : 4;
    const uint8_t* codes = tile.key_page[page];
    const uint8_t* ahead = first == 0 ? tile.value_page[page] : nullptr;
    const float* scale = scales(codes + key_code_bytes(tile.head_dim));
    for (int c = 0; c < kPagePositions; c += 16 * C) {
      I total[Q][C];
      product<Q, C>(codes + 4 * c, 4 * kPagePositions, 0, (tile.head_dim + 3) / 4, query + first,
                    ahead ? ahead + 4 * c : nullptr, total);
      unroll<Q>([&](auto q) ZS_INLINE_LAMBDA {
        const F own = V::set1(query[first + q].scale);
        unroll<C>([&](auto j) ZS_INLINE_LAMBDA {
          const F both = V::mul(V::load(scale + c + 16 * j), own);
          V::store(scores[first + q] + c + 16 * j, V::mul(V::from_int(total[q][j]), both));
        });
      });
    }
  }

  template <int Q>
  inline void values(int first, int page, int begin, int end, float (*weights)[kPagePositions],
                     const float* decay) const {
    const uint8_t* codes = tile.value_page[page];
    const float* scale = scales(codes + value_code_bytes(tile.value_dim));
    Split<kPagePositions> x[Q];
    for (int q = 0; q < Q; ++q) {
      float* p = weights[first + q];
      for (int c = 0; c < kPagePositions; c += 16) {
        // A position that is not seen adds nothing, even where its scale is not finite.
        const F seen = V::load(p + c);
        const F scaled = V::mul(seen, V::load(scale + c));
        V::store(p + c, V::select_lt(V::zero(), seen, scaled, seen));
      }
      split(p, kPagePositions, x[q]);
    }
    const uint8_t* ahead = first == 0 && page + 1 < tile.pages ? tile.key_page[page + 1] : nullptr;
    value_columns<Q, kSums / Q>(first, codes, begin, end, x, decay, ahead, 0);
  }

  static void store(const float* key, const float* value, int head_dim, int value_dim, int slot,
                    uint8_t* key_page, uint8_t* value_page) {
    uint8_t codes[kMaxHeadDim];
    scales(key_page + key_code_bytes(head_dim))[slot] = encode(key, head_dim, codes);
    for (int d = 0; d < head_dim; d += 4) {
      std::memcpy(key_page + size_t(d) * kPagePositions + 4 * slot, codes + d, 4);
    }
    scales(value_page + value_code_bytes(value_dim))[slot] = encode(value, value_dim, codes);
    uint8_t* group = value_page + slot / 4 * group_bytes(value_dim) + slot % 4;
    for (int d = 0; d < value_dim; ++d) group[4 * d] = codes[d];
  }

 private:
  static constexpr int kBias = 128;      // of a code
  static constexpr int kLargest = 8192;  // of an integer of two parts

  // Of the values of 4 positions.
  static constexpr size_t group_bytes(int value_dim) { return value_code_bytes(value_dim) / 16; }

  // Columns d and on, 16 * C at a time, and what is left by halves of that.
  template <int Q, int C>
  inline void value_columns(int first, const uint8_t* codes, int begin, int end,
                            const Split<kPagePositions>* x, const float* decay,
                            const uint8_t* ahead, int d) const {
    for (; tile.value_dim - d >= (C == 1 ? 1 : 16 * C); d += 16 * C) {
      I total[Q][C];
      product<Q, C>(codes + 4 * d, group_bytes(tile.value_dim), begin / 4, (end + 3) / 4, x,
                    ahead ? ahead + 4 * d : nullptr, total);
      const int lanes = at_most_16(tile.value_dim - d);
      unroll<Q>([&](auto q) ZS_INLINE_LAMBDA {
        const F keep = V::set1(decay[first + q]), scale = V::set1(x[q].scale);
        unroll<C>([&](auto c) ZS_INLINE_LAMBDA {
          float* out = tile.out[first + q] + d + 16 * c;
          const F before = V::mul(lanes == 16 ? V::load(out) : V::load_n(out, lanes), keep);
          const F after = V::fma(V::from_int(total[q][c]), scale, before);
          if (lanes == 16) {
            V::store(out, after);
          } else {
            V::store_n(out, after, lanes);
          }
        });
      });
    }
    if constexpr (C > 1) value_columns<Q, C / 2>(first, codes, begin, end, x, decay, ahead, d);
  }

  // total[q][c] = sum over steps of 4 codes * x[q]. With AVX-512 and one query this reads memory
  // in order, so that the processor reads ahead by itself; prefetching in software made attention
  // over pages in memory 1.4 to 2 times slower (Zen 4; on cores with AMX it is faster). `ahead`:
  // what is read after the codes, fetched as far as they are read; nullptr: left to the processor.
  template <int Q, int C, class X>
  ZS_INLINE static void product(const uint8_t* codes, size_t step_bytes, int begin, int end,
                                const X* x, const uint8_t* ahead, I (&total)[Q][C]) {
    I high[Q][C], low[Q][C];
    unroll<Q>([&](auto q) ZS_INLINE_LAMBDA {
      unroll<C>([&](auto c) ZS_INLINE_LAMBDA { high[q][c] = low[q][c] = V::izero(); });
    });
    for (int s = begin; s < end; ++s) {
      if (V::kPrefetchPages && ahead) prefetch(ahead + s * step_bytes, 64 * C);
      I u[C];
      unroll<C>([&](auto c) ZS_INLINE_LAMBDA { u[c] = V::iload(codes + s * step_bytes + 64 * c); });
      unroll<Q>([&](auto q) ZS_INLINE_LAMBDA {
        const I xh = broadcast32(x[q].first + 4 * s), xl = broadcast32(x[q].second + 4 * s);
        unroll<C>([&](auto c)
                      ZS_INLINE_LAMBDA { V::wide_dot(high[q][c], low[q][c], u[c], xh, xl); });
      });
    }
    unroll<Q>([&](auto q) ZS_INLINE_LAMBDA {
      const I bias = V::iset1(static_cast<int32_t>(uint32_t{kBias} * uint32_t(x[q].sum)));
      unroll<C>([&](auto c) ZS_INLINE_LAMBDA {
        total[q][c] = V::isub(V::wide_sum(high[q][c], low[q][c]), bias);
      });
    });
  }

  template <int N>
  static inline void split(const float* x, int n, Split<N>& to) {
    const float amax = magnitude(x, n);
    const F inverse = V::set1(amax > kTiny ? kLargest / amax : 0.0f);
    I sum = V::izero();
    for (int i = 0; i < n; i += 16) {
      const I whole = V::round_int(V::mul(V::load_n(x + i, at_most_16(n - i)), inverse));
      if constexpr (V::kPairs) {
        V::store_pairs(to.first + i, to.second + i, whole);
      } else {
        const I shifted = V::iadd(whole, V::iset1(kLargest + 64));  // not negative
        V::store_i8(to.first + i, V::isub(V::ishr(shifted, 7), V::iset1(kLargest / 128)));
        V::store_i8(to.second + i, V::isub(V::iand(shifted, 127), V::iset1(64)));
      }
      sum = V::iadd(sum, whole);
    }
    to.scale = amax <= kTiny ? 0.0f : amax / kLargest;
    to.sum = V::isum(sum);
  }

  // Codes of n values, padded to whole vectors; returns the scale.
  static inline float encode(const float* x, int n, uint8_t* codes) {
    const float amax = magnitude(x, n);
    const F inverse = V::set1(amax > kTiny ? 127.0f / amax : 0.0f);
    for (int i = 0; i < n; i += 16) {
      const I whole = V::round_int(V::mul(V::load_n(x + i, at_most_16(n - i)), inverse));
      V::store_i8(reinterpret_cast<int8_t*>(codes) + i, V::iadd(whole, V::iset1(kBias)));
    }
    return amax <= kTiny ? 0.0f : amax / 127.0f;
  }

  // The largest magnitude; NaN if there is one, so that the scale says so.
  static inline float magnitude(const float* x, int n) {
    I largest = V::izero();  // magnitudes compare as integers, NaN above infinity
    for (int i = 0; i < n; i += 16) {
      const F part = V::load_n(x + i, at_most_16(n - i));
      largest = V::imax(largest, V::float_to_bits(V::abs(part)));
    }
    const int32_t bits = V::imax_of(largest);
    float amax;
    std::memcpy(&amax, &bits, 4);
    return amax;
  }
  static constexpr float kTiny = 0x1p-110f;  // what is no larger counts as 0: 1 / it must be finite

  ZS_INLINE static I broadcast32(const void* from) {
    return V::iset1(static_cast<int32_t>(quant::load32(from)));
  }
  static const float* scales(const uint8_t* at) { return reinterpret_cast<const float*>(at); }
  static float* scales(uint8_t* at) { return reinterpret_cast<float*>(at); }
  static constexpr int at_most_16(int n) { return n < 16 ? n : 16; }

  const AttentionTile& tile;
  Split<kMaxHeadDim> query[kQueryTile];
};

}  // namespace
}  // namespace zs::kernels
