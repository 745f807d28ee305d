// Flash attention of one tile of queries over one chunk of keys, once for all ISAs.
//
// A page's type (attention_float.h, attention_int8.h) computes its scores and adds its values,
// each sum in an order of its own that does not depend on the tile. So the bits of a query do
// not depend on the tile it shares. A position a query may not see gets a probability of
// exactly 0, which adds nothing. A type of pages offers:
//
//   static constexpr int kQ;  // queries computed together
//   explicit Pages(const AttentionTile&);
//   void scores<Q>(int first, int page, float (*scores)[64]);   // of queries first .. first + Q
//   void values<Q>(int first, int page, int begin, int end, float (*probabilities)[64],
//                  const float* decay);                         // out = out * decay + p * values
//   static void store(key, value, head_dim, value_dim, slot, key_page, value_page);
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/attention_float.h"
#include "kernels/attention_int8.h"
#include "kernels/exp.h"
#include "kernels/table.h"

namespace zs::kernels {
namespace {

template <class V>
struct AttentionOps {
  using F = typename V::F;

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

  template <class Pages>
  static void run(const AttentionTile& tile) {
    alignas(64) float scores[kQueryTile][kPagePositions];
    float decay[kQueryTile];
    for (int q = 0; q < tile.queries; ++q) {
      *tile.maximum[q] = -std::numeric_limits<float>::infinity();
      *tile.sum[q] = 0;
      for (int d = 0; d < tile.value_dim; ++d) tile.out[q][d] = 0;
    }
    Pages pages(tile);
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
      each_block<Pages::kQ>(tile, [&]<int Q>(int q) { pages.template scores<Q>(q, p, scores); });
      for (int q = 0; q < tile.queries; ++q) decay[q] = online_softmax(tile, q, base, scores[q]);
      each_block<Pages::kQ>(
          tile, [&]<int Q>(int q) { pages.template values<Q>(q, p, first, last, scores, decay); });
    }
  }

  template <int kQ, class Fn>
  static inline void each_block(const AttentionTile& tile, Fn&& fn) {
    int q = 0;
    for (; q + kQ <= tile.queries; q += kQ) fn.template operator()<kQ>(q);
    for (; q < tile.queries; ++q) fn.template operator()<1>(q);
  }

  // Calls fn with the type of pages of `kv`.
  template <class Fn>
  static inline void with_pages(KvType kv, Fn&& fn) {
    switch (kv) {
      case KvType::F32: return fn.template operator()<FloatPages<V, KvType::F32>>();
      case KvType::F16: return fn.template operator()<FloatPages<V, KvType::F16>>();
      case KvType::Int8: return fn.template operator()<Int8Pages<V>>();
    }
  }

  static void attention_tile(const AttentionTile& tile) {
    with_pages(tile.kv, [&]<class Pages>() { run<Pages>(tile); });
  }

  static void store_kv(KvType kv, const float* key, const float* value, int head_dim, int value_dim,
                       int slot, uint8_t* key_page, uint8_t* value_page) {
    with_pages(kv, [&]<class Pages>() {
      Pages::store(key, value, head_dim, value_dim, slot, key_page, value_page);
    });
  }
};

// The table with attention as V computes it; `V` stores keys and values like the table's own class.
template <class V>
Table with_attention(Table table) {
  table.attention_tile = AttentionOps<V>::attention_tile;
  return table;
}

}  // namespace
}  // namespace zs::kernels
