// BF16 products of many tokens on tiles: the order of linear_bf16_dot.h, and so its bits. Weights
// and rounded activations of one chunk of columns are kept in scratch; a chunk of two panels of
// weights serves all tokens of a pass, one of 16 tokens both panels.
//
// Tiles is Bf16TileUnit (bf16_tile_unit.h) or, on any machine, Bf16TileModel (bf16_dot_model.h):
//
//   static constexpr size_t kMinTokens;   // fewer are left to Dot
//   struct Use { Use(); ~Use(); };        // tiles may be used while one exists
//   static void product(const Bf16Panel* w, const Bf16Rows& x, size_t steps, size_t panels,
//                       Bf16Sums* sums);  // TDPBF16PS for each step of 32 columns, 16 tokens
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/bf16_pairs.h"
#include "kernels/linear_bf16_dot.h"
#include "kernels/linear_matmul.h"

namespace zs::kernels {
namespace {

template <class Dot, class Tiles>
struct Bf16TileMatmul {
  using V = typename Dot::V;
  using Base = Matmul<Bf16DotKernel<Dot>>;

  struct Scratch {
    alignas(64) Bf16Panel w[kBf16TilePanels];
    alignas(64) Bf16Rows x;
    alignas(64) Bf16Sums sums[kPassTokens];  // as many tokens as there are
  };
  static_assert(sizeof(Scratch) <= matmul_scratch_bytes(kPassTokens));
  static_assert(offsetof(Scratch, sums) <= matmul_scratch_bytes(0));
  static_assert(sizeof(Bf16Sums) <= matmul_scratch_bytes(1) - matmul_scratch_bytes(0));

  static void run(const MatmulJob& job) {
    if (job.tokens < Tiles::kMinTokens) return bf16_dot_matmul<Dot>(job);
    const typename Tiles::Use use;
    const typename Dot::Use add;
    Base::passes(job, [&](size_t begin, size_t tokens) {
      for (size_t panel = job.panel_begin; panel < job.panel_end; panel += kBf16TilePanels) {
        const size_t left = job.panel_end - panel;
        run_panels(job, panel, left < kBf16TilePanels ? left : kBf16TilePanels, begin, tokens);
      }
    });
  }

 private:
  static void run_panels(const MatmulJob& job, size_t panel, size_t panels, size_t begin,
                         size_t tokens) {
    Scratch& scratch = *reinterpret_cast<Scratch*>(job.scratch);
    std::memset(scratch.sums, 0, tokens * sizeof(Bf16Sums));
    for (size_t k = 0; k < job.columns; k += kBf16ChunkColumns) {
      const size_t left = job.columns - k;
      const size_t columns = left < kBf16ChunkColumns ? left : kBf16ChunkColumns;
      for (size_t p = 0; p < panels; ++p) {
        const uint8_t* packed = job.packed + (panel + p) * Base::packed_bytes(job.columns);
        unpack(packed + k * kBf16Column, columns, scratch.w[p]);
      }
      for (size_t done = 0; done < tokens; done += kTileRows) {
        const size_t rest = tokens - done;
        run_tile(job, k, columns, panels, begin + done, rest < kTileRows ? rest : kTileRows,
                 scratch.sums + done);
      }
    }
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t p = 0; p < panels; ++p) {
        Base::store(job, panel + p, begin + t, V::load(scratch.sums[t][p]));
      }
    }
  }

  static void unpack(const uint8_t* packed, size_t columns, Bf16Panel& w) {
    for (size_t k = 0; k < columns; k += kBf16Columns) {
      alignas(64) uint8_t filled[kBf16Columns * kBf16Column];
      const uint8_t* from = bf16_columns(packed + k * kBf16Column, columns - k, filled);
      for (size_t i = 0; i < kBf16Columns / 2; ++i) {
        V::istore(w[k / 2 + i], Dot::pair(from + 2 * i * kBf16Column));
      }
    }
  }

  static void run_tile(const MatmulJob& job, size_t k, size_t columns, size_t panels, size_t begin,
                       size_t tokens, Bf16Sums* sums) {
    Scratch& scratch = *reinterpret_cast<Scratch*>(job.scratch);
    const size_t steps = (columns + kBf16Columns - 1) / kBf16Columns;
    for (size_t t = 0; t < tokens; ++t) {
      const float* x = job.activations->f + Base::activation_row(job, begin + t) + k;
      for (size_t at = 0; at < columns; at += kBf16Columns) {
        const size_t left = columns - at;
        Dot::round(x + at, left < kBf16Columns ? left : kBf16Columns, scratch.x[t] + at);
      }
    }
    if (tokens == kTileRows) return Tiles::product(scratch.w, scratch.x, steps, panels, sums);
    alignas(64) Bf16Sums all[kTileRows] = {};  // those of too few tokens, and of none
    std::memset(scratch.x[tokens], 0, (kTileRows - tokens) * sizeof(scratch.x[0]));
    std::memcpy(all, sums, tokens * sizeof(Bf16Sums));
    Tiles::product(scratch.w, scratch.x, steps, panels, all);
    std::memcpy(sums, all, tokens * sizeof(Bf16Sums));
  }
};

}  // namespace
}  // namespace zs::kernels
