// Flash attention of one tile of queries over one chunk of keys, once for all ISAs.
//
// Key pages are stored transposed, [head_dim][64 positions], so a lane is a position: scores
// need no reduction across lanes, and each score adds over head_dim in order whatever the tile.
// Values are [64 positions][value_dim]; each output value adds over positions in order. So the
// bits of a query do not depend on the tile it shares. A position a query may not see gets a
// probability of exactly 0, which adds nothing.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/exp.h"
#include "kernels/table.h"

namespace zs::kernels {
namespace {

template <class V>
struct AttentionOps {
  using F = typename V::F;
  // Queries and 16-lane vectors of the register tile: 16 accumulators where there are 32
  // registers, 4 (of two registers each) on AVX2.
  static constexpr int kQ = V::kWide ? 4 : 2;
  static constexpr int kC = V::kWide ? 4 : 2;

  static inline F load_kv(KvType kv, const uint8_t* page, size_t index) {
    return kv == KvType::F32 ? V::load(reinterpret_cast<const float*>(page) + index)
                             : V::load_f16(reinterpret_cast<const uint16_t*>(page) + index);
  }

  // scores[q][c*16 ...] = sum over d of key[d][position] * query[q][d], for Q queries.
  template <int Q, KvType kKv>
  static inline void score_block(const AttentionTile& tile, int first, const uint8_t* page,
                                 float (*scores)[kPagePositions]) {
    for (int c = 0; c < kPagePositions; c += 16 * kC) {
      F acc[Q][kC];
      for (int q = 0; q < Q; ++q) {
        for (int j = 0; j < kC; ++j) acc[q][j] = V::zero();
      }
      for (int d = 0; d < tile.head_dim; ++d) {
        F key[kC];
        for (int j = 0; j < kC; ++j) {
          key[j] = load_kv(kKv, page, size_t(d) * kPagePositions + c + 16 * j);
        }
        for (int q = 0; q < Q; ++q) {
          const F x = V::set1(tile.query[first + q][d]);
          for (int j = 0; j < kC; ++j) acc[q][j] = V::fma(key[j], x, acc[q][j]);
        }
      }
      for (int q = 0; q < Q; ++q) {
        for (int j = 0; j < kC; ++j) V::store(scores[first + q] + c + 16 * j, acc[q][j]);
      }
    }
  }

  // out[q] = out[q] * decay[q] + sum over positions of probability * value, for Q queries.
  template <int Q, KvType kKv>
  static inline void value_block(const AttentionTile& tile, int first, const uint8_t* page,
                                 int begin, int end, const float (*scores)[kPagePositions],
                                 const float* decay) {
    int d = 0;
    for (; d + 16 * kC <= tile.value_dim; d += 16 * kC) {
      value_columns<Q, kC, kKv>(tile, first, page, begin, end, scores, decay, d, 16);
    }
    for (; d < tile.value_dim; d += 16) {
      value_columns<Q, 1, kKv>(tile, first, page, begin, end, scores, decay, d,
                               at_most_16(tile.value_dim - d));
    }
  }

  template <int Q, int C, KvType kKv>
  static inline void value_columns(const AttentionTile& tile, int first, const uint8_t* page,
                                   int begin, int end, const float (*scores)[kPagePositions],
                                   const float* decay, int d, int lanes) {
    F acc[Q][C];
    for (int q = 0; q < Q; ++q) {
      const F factor = V::set1(decay[first + q]);
      for (int c = 0; c < C; ++c) {
        const float* out = tile.out[first + q] + d + 16 * c;
        acc[q][c] = V::mul(lanes == 16 ? V::load(out) : V::load_n(out, lanes), factor);
      }
    }
    for (int j = begin; j < end; ++j) {
      F value[C];
      const size_t row = size_t(j) * padded(tile.value_dim) + d;
      for (int c = 0; c < C; ++c) value[c] = load_kv(kKv, page, row + 16 * c);
      for (int q = 0; q < Q; ++q) {
        const F p = V::set1(scores[first + q][j]);
        for (int c = 0; c < C; ++c) acc[q][c] = V::fma(value[c], p, acc[q][c]);
      }
    }
    for (int q = 0; q < Q; ++q) {
      for (int c = 0; c < C; ++c) {
        float* out = tile.out[first + q] + d + 16 * c;
        if (lanes == 16) {
          V::store(out, acc[q][c]);
        } else {
          V::store_n(out, acc[q][c], lanes);
        }
      }
    }
  }

  static inline int within_page(int64_t slot) {
    return slot < 0 ? 0 : slot > kPagePositions ? kPagePositions : int(slot);
  }

  // Scores to probabilities relative to the running maximum; returns the decay of what was
  // summed before.
  static inline float online_softmax(const AttentionTile& tile, int q, int64_t base, float* s) {
    const int begin = within_page(tile.key_begin[q] - base);
    const int end = within_page(tile.key_end[q] - base);
    constexpr float kHidden = -std::numeric_limits<float>::infinity();
    if (begin >= end) {
      for (int c = 0; c < kPagePositions; c += 16) V::store(s + c, V::zero());
      return 1.0f;
    }
    const F scale = V::set1(tile.scale);
    F v[4];
    for (int c = 0; c < 4; ++c) v[c] = V::mul(V::load(s + 16 * c), scale);
    if (tile.softcap > 0) {
      const F cap = V::set1(tile.softcap), inverse = V::set1(1.0f / tile.softcap);
      for (int c = 0; c < 4; ++c) v[c] = V::mul(vtanh<V>(V::mul(v[c], inverse)), cap);
    }
    if (begin > 0 || end < kPagePositions) {
      for (int c = 0; c < 4; ++c) V::store(s + 16 * c, v[c]);
      for (int j = 0; j < begin; ++j) s[j] = kHidden;
      for (int j = end; j < kPagePositions; ++j) s[j] = kHidden;
      for (int c = 0; c < 4; ++c) v[c] = V::load(s + 16 * c);
    }
    const float page_top = V::max_of(V::max(V::max(v[0], v[1]), V::max(v[2], v[3])));
    const float old = *tile.maximum[q];
    const float top = page_top > old ? page_top : old;
    const F shift = V::set1(top);
    F total = V::zero();
    for (int c = 0; c < 4; ++c) {
      v[c] = vexp<V>(V::sub(v[c], shift));
      V::store(s + 16 * c, v[c]);
      total = V::add(total, v[c]);
    }
    float decay_lanes[16];
    V::store(decay_lanes, vexp<V>(V::set1(old - top)));
    *tile.sum[q] = *tile.sum[q] * decay_lanes[0] + V::sum(total);
    *tile.maximum[q] = top;
    return decay_lanes[0];
  }

  template <KvType kKv>
  static void run(const AttentionTile& tile) {
    alignas(64) float scores[kQueryTile][kPagePositions];
    float decay[kQueryTile];
    for (int q = 0; q < tile.queries; ++q) {
      *tile.maximum[q] = -std::numeric_limits<float>::infinity();
      *tile.sum[q] = 0;
      for (int d = 0; d < tile.value_dim; ++d) tile.out[q][d] = 0;
    }
    for (int p = 0; p < tile.pages; ++p) {
      const int64_t base = tile.first_position + int64_t(p) * kPagePositions;
      int first = kPagePositions, last = 0;  // slots that some query sees
      for (int q = 0; q < tile.queries; ++q) {
        const int begin = within_page(tile.key_begin[q] - base);
        const int end = within_page(tile.key_end[q] - base);
        if (begin >= end) continue;
        first = begin < first ? begin : first;
        last = end > last ? end : last;
      }
      if (first >= last) continue;
      each_block(tile,
                 [&]<int Q>(int q) { score_block<Q, kKv>(tile, q, tile.key_page[p], scores); });
      for (int q = 0; q < tile.queries; ++q) decay[q] = online_softmax(tile, q, base, scores[q]);
      each_block(tile, [&]<int Q>(int q) {
        value_block<Q, kKv>(tile, q, tile.value_page[p], first, last, scores, decay);
      });
    }
  }

  template <class Fn>
  static inline void each_block(const AttentionTile& tile, Fn&& fn) {
    int q = 0;
    for (; q + kQ <= tile.queries; q += kQ) fn.template operator()<kQ>(q);
    for (; q < tile.queries; ++q) fn.template operator()<1>(q);
  }

  static void attention_tile(const AttentionTile& tile) {
    if (tile.kv == KvType::F32) {
      run<KvType::F32>(tile);
    } else {
      run<KvType::F16>(tile);
    }
  }

  static constexpr int at_most_16(int n) { return n < 16 ? n : 16; }

  // Rows of a value page are padded to whole vectors.
  static constexpr size_t padded(int dim) { return size_t(dim + 15) / 16 * 16; }

  static void store_kv(KvType kv, const float* key, const float* value, int head_dim, int value_dim,
                       int slot, uint8_t* key_page, uint8_t* value_page) {
    const size_t row = slot * padded(value_dim);
    if (kv == KvType::F32) {
      float* keys = reinterpret_cast<float*>(key_page) + slot;
      for (int d = 0; d < head_dim; ++d) keys[size_t(d) * kPagePositions] = key[d];
      float* values = reinterpret_cast<float*>(value_page) + row;
      for (int d = 0; d < value_dim; ++d) values[d] = value[d];
      return;
    }
    uint16_t* keys = reinterpret_cast<uint16_t*>(key_page) + slot;
    uint16_t* values = reinterpret_cast<uint16_t*>(value_page) + row;
    uint16_t half[16];
    for (int d = 0; d < head_dim; d += 16) {
      const int n = at_most_16(head_dim - d);
      V::store_f16(half, V::load_n(key + d, n));
      for (int i = 0; i < n; ++i) keys[size_t(d + i) * kPagePositions] = half[i];
    }
    for (int d = 0; d < value_dim; d += 16) {
      V::store_f16(values + d, V::load_n(value + d, at_most_16(value_dim - d)));
    }
  }
};

}  // namespace
}  // namespace zs::kernels
