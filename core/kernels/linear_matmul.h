// The loops of a matrix product, for any kind of panel. A kernel K (linear_super.h,
// linear_legacy.h, linear_float.h) supplies
//
//   V, Codec             vector class and weight format
//   kChunkColumns        the columns of one chunk; a row's last chunk may have fewer
//   Chunk                one unpacked chunk of a panel, at most 8 KiB
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

#include "kernels/table.h"
#include "kernels/vec.h"

namespace zs::kernels {
namespace {

template <class K>
struct Matmul {
  using V = typename K::V;
  using F = typename V::F;
  using Block = typename K::Codec::Block;

  // Few tokens do without the unpacked copy; measured on Zen 4 at 4096 x 4096.
  static constexpr int kDirectTokens = V::kWide ? 4 : 1;
  static constexpr int kTileTokens = K::kTileTokens;
  static constexpr int kTilePanels = K::kTilePanels;
  // Activations of one pass over the panels, to stay in the second-level cache.
  static constexpr size_t kPassBytes = 512 * 1024, kMinPassTokens = 32, kMaxPassTokens = 128;

  struct Scratch {
    typename K::Chunk chunk[kTilePanels];
    alignas(64) float acc[kTilePanels][kMaxPassTokens][kPanelRows];
  };
  static_assert(sizeof(Scratch) <= matmul_scratch_bytes(kMaxPassTokens));

  static constexpr size_t packed_bytes(size_t columns) {
    return columns / K::Codec::kBlockValues * kPanelRows * sizeof(Block);
  }
  static size_t activation_row(const MatmulJob& job, size_t token) {
    return (job.row_index ? static_cast<size_t>(job.row_index[token]) : token) * job.columns;
  }

  static void run(const MatmulJob& job) {
    constexpr size_t kValueBytes = K::Codec::kActivations == ActivationKind::F32 ? 4 : 1;
    size_t pass = kPassBytes / (job.columns * kValueBytes) / kTileTokens * kTileTokens;
    pass = pass < kMinPassTokens ? kMinPassTokens : pass > kMaxPassTokens ? kMaxPassTokens : pass;
    for (size_t begin = 0; begin < job.tokens; begin += pass) {
      const size_t left = job.tokens - begin;
      run_tokens(job, begin, left < pass ? left : pass);
    }
  }

 private:
  static void run_tokens(const MatmulJob& job, size_t begin, size_t tokens) {
    if (tokens <= kDirectTokens) return run_direct<kDirectTokens>(job, begin, tokens);
    size_t panel = job.panel_begin;
    for (; panel + kTilePanels <= job.panel_end; panel += kTilePanels) {
      run_panels<kTilePanels>(job, panel, begin, tokens);
    }
    for (; panel < job.panel_end; ++panel) run_panels<1>(job, panel, begin, tokens);
  }

  // --- few tokens -------------------------------------------------------------------------
  template <int T>
  static void run_direct(const MatmulJob& job, size_t begin, size_t tokens) {
    if constexpr (T > 1) {
      if (tokens < T) return run_direct<T - 1>(job, begin, tokens);
    }
    size_t first[T];
    for (int t = 0; t < T; ++t) first[t] = activation_row(job, begin + static_cast<size_t>(t));
    for (size_t panel = job.panel_begin; panel < job.panel_end; ++panel) {
      const uint8_t* packed = job.packed + panel * packed_bytes(job.columns);
      size_t at[T];
      F acc[T];
      unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
        at[t] = first[t];
        acc[t] = V::zero();
      });
      size_t left = job.columns;
      for (; left >= K::kChunkColumns; left -= K::kChunkColumns) {
        K::template direct<T>(packed, K::kChunkColumns, *job.activations, at, acc);
        packed += packed_bytes(K::kChunkColumns);
        unroll<T>([&](auto t) ZS_INLINE_LAMBDA { at[t] += K::kChunkColumns; });
      }
      if (left > 0) K::template direct<T>(packed, left, *job.activations, at, acc);
      unroll<T>([&](auto t) ZS_INLINE_LAMBDA { store(job, panel, begin + t, acc[t]); });
    }
  }

  // --- many tokens ------------------------------------------------------------------------
  template <int P>
  static void run_panels(const MatmulJob& job, size_t panel, size_t begin, size_t tokens) {
    Scratch& scratch = *reinterpret_cast<Scratch*>(job.scratch);
    for (int p = 0; p < P; ++p) {
      for (size_t t = 0; t < tokens; ++t) V::store(scratch.acc[p][t], V::zero());
    }
    size_t columns = K::kChunkColumns;
    for (size_t column = 0; column < job.columns; column += columns) {
      if (columns > job.columns - column) columns = job.columns - column;
      for (size_t p = 0; p < P; ++p) {
        const uint8_t* packed = job.packed + (panel + p) * packed_bytes(job.columns);
        K::unpack(packed + packed_bytes(column), columns, scratch.chunk[p]);
      }
      run_tiles<P, kTileTokens>(job, column, columns, begin, 0, tokens);
    }
    for (size_t p = 0; p < P; ++p) {
      for (size_t t = 0; t < tokens; ++t) {
        store(job, panel + p, begin + t, V::load(scratch.acc[p][t]));
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
      unroll<P>([&](auto p) ZS_INLINE_LAMBDA { acc[p][t] = V::load(scratch.acc[p][done + t]); });
    });
    K::template tile<P, T>(scratch.chunk, columns, *job.activations, at, acc);
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
      unroll<P>([&](auto p) ZS_INLINE_LAMBDA { V::store(scratch.acc[p][done + t], acc[p][t]); });
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
