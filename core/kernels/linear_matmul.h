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
//   static void unpack(const Span&, Chunk&)
//   template <int P, int T> static void tile(const Chunk*, size_t columns, const Activations&,
//                                            const size_t* at, V::F (*acc)[T],
//                                            const uint8_t* ahead)
//       // adds the products of P panels and T tokens; token t's activations of this chunk
//       // are values at[t].. With V::kPrefetchParts it fetches the packed chunk at `ahead`
//       // meanwhile, unless that is nullptr
//   template <int T> static void direct(const Span&, const Activations&, const size_t* at,
//                                       V::F* acc)
//       // the same for one panel, unpacking in registers
//
// and, for integers, the sums of one chunk of some panels by tile registers (linear_tiles.h),
// acc(t, p) being the address of token t's 16 sums of panel p:
//
//   TileChunk, static void unpack_tiles(const Span&, TileChunk&)
//   template <class Tiles, class Acc> static void tiles(const TileChunk*, size_t panels,
//                       size_t columns, const Activations&, const TileTokens&, Acc&& acc)
//
// All do the same float operations in the same order, so a token's result does not depend on
// which of them computes it.
#pragma once

#include <cstddef>

#include "kernels/table.h"
#include "kernels/vec.h"

namespace zs::kernels {
namespace {

// Columns [begin, begin + columns) of the `total` columns of a panel.
struct Span {
  const uint8_t* panel;
  size_t begin, columns, total;
};

// How far ahead of a block its prefetch_part is; on Zen 3 it matters little (docs/adr/0003).
inline constexpr size_t kPartAhead = 1536;
// For up to so many tokens also kFarAhead; with more, computing leaves no time for two fetches.
inline constexpr int kFarTokens = 3;

// Fetches a part (prefetch_part) of the bytes ahead of those that T tokens are multiplied with.
template <class V, int T, size_t Parts, size_t Bytes>
ZS_INLINE void fetch_ahead(const uint8_t* packed, size_t part) {
  if constexpr (V::kPrefetchParts) {
    prefetch_part<Parts, Bytes>(packed + kPartAhead, part);
    if constexpr (V::kFarAhead > 0 && T <= kFarTokens) {
      prefetch_part<Parts, Bytes, 2>(packed + V::kFarAhead, part);
    }
  }
}

inline constexpr size_t kTileRows = 16;  // tokens of a tile register (linear_tiles.h)

// Up to 16 tokens of one chunk: x[t * stride ..] are the activations of token t. All 16 rows can
// be read; those from `tokens` on are ignored.
struct TileTokens {
  const int8_t* x;
  size_t stride, tokens;
  const size_t* at;  // as above
};

template <class K>
struct Matmul {
  using V = typename K::V;
  using F = typename V::F;
  using Block = typename K::Codec::Block;

  static constexpr int kTileTokens = K::kTileTokens, kTilePanels = K::kTilePanels;
  static constexpr int kDirectTokens = K::kDirectTokens;
  // Bytes. On Zen 4 with 4 tokens, prefetch into the second level gives 1.4 times the speed of
  // none; 3072 and 12288 bytes ahead, smaller portions or the first level are all slower.
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

  static Span first_span(const MatmulJob& job, size_t panel) {
    Span span{job.packed + panel * packed_bytes(job.columns), 0, 0, job.columns};
    advance(span);
    return span;
  }
  // To the next chunk; no columns are left after the last.
  static void advance(Span& span) {
    span.begin += span.columns;
    const size_t left = span.total - span.begin;
    span.columns = left < K::kChunkColumns ? left : K::kChunkColumns;
  }

  // Calls fn(first token, tokens) for each pass over the panels.
  template <class Fn>
  ZS_INLINE static void passes(const MatmulJob& job, Fn&& fn) {
    constexpr size_t kValueBytes = K::Codec::kActivations == ActivationKind::F32 ? 4 : 1;
    size_t pass = kPassBytes / (job.columns * kValueBytes) / kMinPassTokens * kMinPassTokens;
    pass = pass < kMinPassTokens ? kMinPassTokens : pass > kPassTokens ? kPassTokens : pass;
    for (size_t begin = 0; begin < job.tokens; begin += pass) {
      const size_t left = job.tokens - begin;
      fn(begin, left < pass ? left : pass);
    }
  }

  static void run(const MatmulJob& job) {
    passes(job, [&](size_t begin, size_t tokens) { run_tokens(job, begin, tokens); });
  }

  ZS_INLINE static void store(const MatmulJob& job, size_t panel, size_t token, F acc) {
    const size_t row = panel * kPanelRows, left = job.weight_rows - row;
    const int rows = left < kPanelRows ? static_cast<int>(left) : kPanelRows;
    if (job.bias) acc = V::add(acc, V::load_n(job.bias + row, rows));
    V::store_n(job.out + token * job.out_stride + row, acc, rows);
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
  static void run_direct(const MatmulJob& job, size_t begin, size_t tokens) {
    for (size_t panel = job.panel_begin; panel < job.panel_end; ++panel) {
      size_t at[K::kDirectLimit];
      F acc[K::kDirectLimit];
      // The last token stands in for one more where there is no code for so few.
      const size_t padded = tokens > 4 ? tokens + tokens % 2 : tokens;
      for (size_t t = 0; t < padded; ++t) {
        at[t] = activation_row(job, begin + (t < tokens ? t : tokens - 1));
        acc[t] = V::zero();
      }
      Span span = first_span(job, panel);
      for (; span.columns > 0; advance(span)) {
        if (!V::kPrefetchParts && (K::kPrefetchAlone || tokens > 1)) {
          prefetch(span.panel + packed_bytes(span.begin) + kPrefetchAhead,
                   packed_bytes(span.columns));
        }
        for (size_t t = 0; t < tokens; t += kDirectTokens) {
          direct<kDirectTokens>(span, *job.activations, at + t, acc + t, padded - t);
        }
        for (size_t t = 0; t < padded; ++t) at[t] += span.columns;
      }
      for (size_t t = 0; t < tokens; ++t) store(job, panel, begin + t, acc[t]);
    }
  }

  static_assert(kDirectTokens <= 4 || (kDirectTokens % 2 == 0 && K::kDirectLimit % 2 == 0));

  // T tokens, or `left` if that is fewer; above 4 both are even, which halves the code.
  template <int T>
  [[gnu::noinline]] static void direct(const Span& span, const Activations& a, const size_t* at,
                                       F* acc, size_t left) {
    if constexpr (T > 1) {
      if (left < T) return direct<(T > 4 ? T - 2 : T - 1)>(span, a, at, acc, left);
    }
    F sums[T];
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA { sums[t] = acc[t]; });
    K::template direct<T>(span, a, at, sums);
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA { acc[t] = sums[t]; });
  }

  // --- many tokens ------------------------------------------------------------------------
  template <int P>
  static void run_panels(const MatmulJob& job, size_t panel, size_t begin, size_t tokens) {
    Scratch& scratch = *reinterpret_cast<Scratch*>(job.scratch);
    for (int p = 0; p < P; ++p) {
      for (size_t t = 0; t < tokens; ++t) V::store(scratch.acc[t][p], V::zero());
    }
    for (Span span = first_span(job, panel); span.columns > 0; advance(span)) {
      for (size_t p = 0; p < P; ++p) {
        Span of_panel = span;
        of_panel.panel += p * packed_bytes(job.columns);
        K::unpack(of_panel, scratch.chunk[p]);
        if (V::kPrefetchParts) continue;
        prefetch(of_panel.panel + packed_bytes(span.begin + span.columns),
                 packed_bytes(span.columns));
      }
      const uint8_t* ahead = span.panel + packed_bytes(span.begin + span.columns);
      run_tiles<P, kTileTokens>(job, span, begin, 0, tokens, ahead);
    }
    for (size_t p = 0; p < P; ++p) {
      for (size_t t = 0; t < tokens; ++t) {
        store(job, panel + p, begin + t, V::load(scratch.acc[t][p]));
      }
    }
  }

  // Tiles of T tokens, the rest in tiles of half as many; three are one tile.
  template <int P, int T>
  static void run_tiles(const MatmulJob& job, const Span& span, size_t begin, size_t done,
                        size_t tokens, const uint8_t* ahead) {
    for (; done + T <= tokens; done += T) {
      run_tile<P, T>(job, span, begin, done, ahead);
      ahead = nullptr;
    }
    if constexpr (T == 4) {
      if (done + 3 == tokens) return run_tile<P, 3>(job, span, begin, done, ahead);
    }
    if constexpr (T > 1) run_tiles<P, T / 2>(job, span, begin, done, tokens, ahead);
  }

  template <int P, int T>
  ZS_INLINE static void run_tile(const MatmulJob& job, const Span& span, size_t begin, size_t done,
                                 const uint8_t* ahead) {
    Scratch& scratch = *reinterpret_cast<Scratch*>(job.scratch);
    size_t at[T];
    F acc[P][T];
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
      at[t] = activation_row(job, begin + done + t) + span.begin;
      unroll<P>([&](auto p) ZS_INLINE_LAMBDA { acc[p][t] = V::load(scratch.acc[done + t][p]); });
    });
    K::template tile<P, T>(scratch.chunk, span.columns, *job.activations, at, acc, ahead);
    unroll<T>([&](auto t) ZS_INLINE_LAMBDA {
      unroll<P>([&](auto p) ZS_INLINE_LAMBDA { V::store(scratch.acc[done + t][p], acc[p][t]); });
    });
  }
};

}  // namespace
}  // namespace zs::kernels
