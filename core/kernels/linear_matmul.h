// The loops of a matrix product, for any kind of panel. A kernel K (linear_super.h,
// linear_legacy.h, linear_float.h) supplies
//
//   V, Codec             vector class and weight format
//   kChunkColumns        the columns of one chunk; a row's last chunk may have fewer
//   kPrefetchAlone       whether a single token also gains from prefetching packed bytes
//   kDirectTokens        tokens of one call of direct
//   kDirectLimit         the most tokens for which direct is faster than unpacking first
//   kTilePanels, kTileTokens  of one call of tile, used for more tokens
//   Chunk                one unpacked chunk of a panel
//   static void unpack(const uint8_t* packed, size_t columns, Chunk&)
//   template <int P, int T> static void tile(const Chunk*, size_t columns, const Activations&,
//                                            const size_t* at, V::F (*acc)[T])
//       // adds the products of P panels and T tokens; token t's activations of this chunk
//       // are values at[t]..
//   template <int T> static void direct(const uint8_t* packed, size_t columns,
//                                       const Activations&, const size_t* at, V::F* acc)
//       // the same for one panel, unpacking in registers
//
// tile and direct do the same float operations in the same order, so a token's result does not
// depend on which of them computes it.
#pragma once

#include <cstddef>

#include "kernels/table.h"
#include "kernels/vec.h"

namespace zs::kernels {
namespace {

template <class K>
struct Matmul {
  using V = typename K::V;
  using F = typename V::F;
  using Block = typename K::Codec::Block;

  static constexpr int kTileTokens = K::kTileTokens, kTilePanels = K::kTilePanels;
  static constexpr int kDirectTokens = K::kDirectTokens;
  // Bytes. Measured on Zen 4 with 2 to 4 tokens: twice the speed of no prefetch.
  static constexpr size_t kPrefetchAhead = 6144;
  // Activations of one pass over the panels, to stay in the second-level cache.
  static constexpr size_t kPassBytes = 512 * 1024, kMinPassTokens = 32;

  struct Scratch {
    typename K::Chunk chunk[kTilePanels];
    alignas(64) float acc[kPassTokens][kTilePanels][kPanelRows];  // as many tokens as there are
  };
  static_assert(sizeof(Scratch) <= matmul_scratch_bytes(kPassTokens));
  static_assert(offsetof(Scratch, acc) <= matmul_scratch_bytes(0));

  static constexpr size_t packed_bytes(size_t columns) {
    return columns / K::Codec::kBlockValues * kPanelRows * sizeof(Block);
  }
  static size_t activation_row(const MatmulJob& job, size_t token) {
    return (job.row_index ? static_cast<size_t>(job.row_index[token]) : token) * job.columns;
  }

  static void run(const MatmulJob& job) {
    constexpr size_t kValueBytes = K::Codec::kActivations == ActivationKind::F32 ? 4 : 1;
    size_t pass = kPassBytes / (job.columns * kValueBytes) / kMinPassTokens * kMinPassTokens;
    pass = pass < kMinPassTokens ? kMinPassTokens : pass > kPassTokens ? kPassTokens : pass;
    for (size_t begin = 0; begin < job.tokens; begin += pass) {
      const size_t left = job.tokens - begin;
      run_tokens(job, begin, left < pass ? left : pass);
    }
  }

 private:
  static void run_tokens(const MatmulJob& job, size_t begin, size_t tokens) {
    if (tokens <= K::kDirectLimit) return run_direct(job, begin, tokens);
    if constexpr (K::kDirectLimit < kPassTokens) {
      size_t panel = job.panel_begin;
      for (; panel + kTilePanels <= job.panel_end; panel += kTilePanels) {
        run_panels<kTilePanels>(job, panel, begin, tokens);
      }
      for (; panel < job.panel_end; ++panel) run_panels<1>(job, panel, begin, tokens);
    }
  }

  // --- few tokens -------------------------------------------------------------------------
  ZS_INLINE static void prefetch(const uint8_t* from, size_t bytes) {
    constexpr int kRead = 0, kSecondLevel = 2;
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, kRead, kSecondLevel);
  }

  static void run_direct(const MatmulJob& job, size_t begin, size_t tokens) {
    for (size_t panel = job.panel_begin; panel < job.panel_end; ++panel) {
      const uint8_t* packed = job.packed + panel * packed_bytes(job.columns);
      size_t at[K::kDirectLimit];
      F acc[K::kDirectLimit];
      for (size_t t = 0; t < tokens; ++t) {
        at[t] = activation_row(job, begin + t);
        acc[t] = V::zero();
      }
      size_t columns = K::kChunkColumns;
      for (size_t left = job.columns; left > 0; left -= columns) {
        if (columns > left) columns = left;
        if (K::kPrefetchAlone || tokens > 1) {
          prefetch(packed + kPrefetchAhead, packed_bytes(columns));
        }
        for (size_t t = 0; t < tokens; t += kDirectTokens) {
          direct<kDirectTokens>(packed, columns, *job.activations, at + t, acc + t, tokens - t);
        }
        packed += packed_bytes(columns);
        for (size_t t = 0; t < tokens; ++t) at[t] += columns;
      }
      for (size_t t = 0; t < tokens; ++t) store(job, panel, begin + t, acc[t]);
    }
  }

  // T tokens, or `left` if that is fewer.
  template <int T>
  [[gnu::noinline]] static void direct(const uint8_t* packed, size_t columns, const Activations& a,
                                       const size_t* at, F* acc, size_t left) {
    if constexpr (T > 1) {
      if (left < T) return direct<T - 1>(packed, columns, a, at, acc, left);
    }
    F sums[T];
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA { sums[t] = acc[t]; });
    K::template direct<T>(packed, columns, a, at, sums);
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA { acc[t] = sums[t]; });
  }

  // --- many tokens ------------------------------------------------------------------------
  template <int P>
  static void run_panels(const MatmulJob& job, size_t panel, size_t begin, size_t tokens) {
    Scratch& scratch = *reinterpret_cast<Scratch*>(job.scratch);
    for (int p = 0; p < P; ++p) {
      for (size_t t = 0; t < tokens; ++t) V::store(scratch.acc[t][p], V::zero());
    }
    size_t columns = K::kChunkColumns;
    for (size_t column = 0; column < job.columns; column += columns) {
      if (columns > job.columns - column) columns = job.columns - column;
      for (size_t p = 0; p < P; ++p) {
        const uint8_t* packed = job.packed + (panel + p) * packed_bytes(job.columns);
        K::unpack(packed + packed_bytes(column), columns, scratch.chunk[p]);
        prefetch(packed + packed_bytes(column + columns), packed_bytes(columns));
      }
      run_tiles<P, kTileTokens>(job, column, columns, begin, 0, tokens);
    }
    for (size_t p = 0; p < P; ++p) {
      for (size_t t = 0; t < tokens; ++t) {
        store(job, panel + p, begin + t, V::load(scratch.acc[t][p]));
      }
    }
  }

  // Tiles of T tokens, the rest in tiles of half as many.
  template <int P, int T>
  static void run_tiles(const MatmulJob& job, size_t column, size_t columns, size_t begin,
                        size_t done, size_t tokens) {
    for (; done + T <= tokens; done += T) run_tile<P, T>(job, column, columns, begin, done);
    if constexpr (T > 1) run_tiles<P, T / 2>(job, column, columns, begin, done, tokens);
  }

  template <int P, int T>
  ZS_INLINE static void run_tile(const MatmulJob& job, size_t column, size_t columns, size_t begin,
                                 size_t done) {
    Scratch& scratch = *reinterpret_cast<Scratch*>(job.scratch);
    size_t at[T];
    F acc[P][T];
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
      at[t] = activation_row(job, begin + done + t) + column;
      unroll<P>([&](auto p) ZS_INLINE_LAMBDA { acc[p][t] = V::load(scratch.acc[done + t][p]); });
    });
    K::template tile<P, T>(scratch.chunk, columns, *job.activations, at, acc);
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
      unroll<P>([&](auto p) ZS_INLINE_LAMBDA { V::store(scratch.acc[done + t][p], acc[p][t]); });
    });
  }

  ZS_INLINE static void store(const MatmulJob& job, size_t panel, size_t token, F acc) {
    const size_t row = panel * kPanelRows, left = job.weight_rows - row;
    const int rows = left < kPanelRows ? static_cast<int>(left) : kPanelRows;
    if (job.bias) acc = V::add(acc, V::load_n(job.bias + row, rows));
    V::store_n(job.out + token * job.out_stride + row, acc, rows);
  }
};

}  // namespace
}  // namespace zs::kernels
