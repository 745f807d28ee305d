// Pages of float keys and values, for attention.h.
//
// Keys are transposed, [head_dim][64 positions], so a lane is a position: scores need no
// reduction across lanes, and each score adds over head_dim in order whatever the tile. Values
// are [64 positions][value_dim]; each output value adds over positions in order.
#pragma once

#include <cstdint>

#include "kernels/table.h"
#include "kernels/vec.h"

namespace zs::kernels {
namespace {

template <class V, KvType kKv>
struct FloatPages {
  using F = typename V::F;
  // Queries and 16-lane vectors of the register tile: 16 accumulators where there are 32
  // registers, 4 (of two registers each) on AVX2. A query alone reads keys in order.
  static constexpr int kQ = V::kWide ? 4 : 2;
  template <int Q>
  static constexpr int kColumns = V::kWide || Q == 1 ? 4 : 2;

  explicit FloatPages(const AttentionTile& t) : tile(t) {}

  // scores[q][c*16 ...] = sum over d of key[d][position] * query[q][d], for Q queries.
  template <int Q>
  inline void scores(int first, int page, float (*scores)[kPagePositions]) const {
    constexpr int kC = kColumns<Q>;
    const uint8_t* ahead = first == 0 ? tile.value_page[page] : nullptr;
    for (int c = 0; c < kPagePositions; c += 16 * kC) {
      F acc[Q][kC];
      for (int q = 0; q < Q; ++q) {
        for (int j = 0; j < kC; ++j) acc[q][j] = V::zero();
      }
      for (int d = 0; d < tile.head_dim; ++d) {
        const size_t row = size_t(d) * kPagePositions + c;
        F key[kC];
        for (int j = 0; j < kC; ++j) key[j] = load(tile.key_page[page], row + 16 * j);
        if (V::kPrefetchPages && ahead) prefetch(ahead + row * kBytes, 16 * kC * kBytes);
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
  template <int Q>
  inline void values(int first, int page, int begin, int end,
                     const float (*weights)[kPagePositions], const float* decay) const {
    constexpr int kC = kColumns<Q>;
    int d = 0;
    for (; d + 16 * kC <= tile.value_dim; d += 16 * kC) {
      value_columns<Q, kC>(first, page, begin, end, weights, decay, d, 16);
    }
    for (; d < tile.value_dim; d += 16) {
      value_columns<Q, 1>(first, page, begin, end, weights, decay, d,
                          at_most_16(tile.value_dim - d));
    }
  }

  static void store(const float* key, const float* value, int head_dim, int value_dim, int slot,
                    uint8_t* key_page, uint8_t* value_page) {
    const size_t row = slot * padded(value_dim);
    if constexpr (kKv == KvType::F32) {
      float* keys = reinterpret_cast<float*>(key_page) + slot;
      for (int d = 0; d < head_dim; ++d) keys[size_t(d) * kPagePositions] = key[d];
      float* values = reinterpret_cast<float*>(value_page) + row;
      for (int d = 0; d < value_dim; ++d) values[d] = value[d];
    } else {
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
  }

 private:
  template <int Q, int C>
  inline void value_columns(int first, int page, int begin, int end,
                            const float (*weights)[kPagePositions], const float* decay, int d,
                            int lanes) const {
    F acc[Q][C];
    for (int q = 0; q < Q; ++q) {
      const F factor = V::set1(decay[first + q]);
      for (int c = 0; c < C; ++c) {
        const float* out = tile.out[first + q] + d + 16 * c;
        acc[q][c] = V::mul(lanes == 16 ? V::load(out) : V::load_n(out, lanes), factor);
      }
    }
    const uint8_t* ahead = first == 0 && page + 1 < tile.pages ? tile.key_page[page + 1] : nullptr;
    for (int j = begin; j < end; ++j) {
      F value[C];
      const size_t row = size_t(j) * padded(tile.value_dim) + d;
      for (int c = 0; c < C; ++c) value[c] = load(tile.value_page[page], row + 16 * c);
      if (V::kPrefetchPages && ahead) prefetch(ahead + row * kBytes, 16 * C * kBytes);
      for (int q = 0; q < Q; ++q) {
        const F p = V::set1(weights[first + q][j]);
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

  static constexpr size_t kBytes = kKv == KvType::F32 ? 4 : 2;
  static inline F load(const uint8_t* page, size_t index) {
    if constexpr (kKv == KvType::F32) return V::load(reinterpret_cast<const float*>(page) + index);
    return V::load_f16(reinterpret_cast<const uint16_t*>(page) + index);
  }

  static constexpr int at_most_16(int n) { return n < 16 ? n : 16; }

  // Rows of a value page are padded to whole vectors.
  static constexpr size_t padded(int dim) { return size_t(dim + 15) / 16 * 16; }

  const AttentionTile& tile;
};

}  // namespace
}  // namespace zs::kernels
