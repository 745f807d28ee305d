// Matrix products on tile registers: 16 tokens times 16 rows, as many columns at a time as share
// their float scales, with exact integer sums, so that the bits stay those of every other
// instruction set. Over the packed panels of linear_matmul.h.
//
// Tiles is TileUnit (tile_unit.h) or, on any machine, TileModel (tile_model.h):
//
//   static constexpr size_t kMinTokens;   // fewer are left to `few`
//   struct Use { Use(); ~Use(); };        // tiles may be used while one exists
//   static void product32(const int8_t* x, size_t stride, const uint8_t* w, TileSum& out);
//       // out[t][r] = sum over k < 32 of x[t * stride + k] * w[k / 4][r][k % 4], exact
//   template <bool TwoBytes> static void product256(const int8_t* x, size_t stride,
//                                    const TileBytes* w, size_t panels, TileSums* out);
//       // the same over 256 columns of one or two panels, for low bytes and for high ones
#pragma once

#include <cstring>

#include "kernels/linear_matmul.h"

namespace zs::kernels {
namespace {

template <class K, class Tiles, void (*few)(const MatmulJob&)>
struct TileMatmul {
  using V = typename K::V;
  using Base = Matmul<K>;
  static constexpr size_t kPanels = Base::kTilePanels;

  struct Scratch {
    typename K::TileChunk chunk[kPanels];
    alignas(64) float acc[kPassTokens][kPanels][kPanelRows];  // as many tokens as there are
  };
  static_assert(sizeof(Scratch) <= matmul_scratch_bytes(kPassTokens));
  static_assert(offsetof(Scratch, acc) <= matmul_scratch_bytes(0));

  static void run(const MatmulJob& job) {
    if (job.tokens < Tiles::kMinTokens) return few(job);
    const typename Tiles::Use use;
    Base::passes(job, [&](size_t begin, size_t tokens) {
      for (size_t panel = job.panel_begin; panel < job.panel_end; panel += kPanels) {
        const size_t left = job.panel_end - panel;
        run_panels(job, panel, left < kPanels ? left : kPanels, begin, tokens);
      }
    });
  }

 private:
  static void run_panels(const MatmulJob& job, size_t panel, size_t panels, size_t begin,
                         size_t tokens) {
    Scratch& scratch = *reinterpret_cast<Scratch*>(job.scratch);
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t p = 0; p < panels; ++p) V::store(scratch.acc[t][p], V::zero());
    }
    for (auto span = Base::first_span(job, panel); span.columns > 0; Base::advance(span)) {
      for (size_t p = 0; p < panels; ++p) {
        Span of_panel = span;
        of_panel.panel += p * Base::packed_bytes(job.columns);
        K::unpack_tiles(of_panel, scratch.chunk[p]);
      }
      for (size_t done = 0; done < tokens; done += kTileRows) {
        const size_t left = tokens - done;
        run_tile(job, span, panels, begin, done, left < kTileRows ? left : kTileRows);
      }
    }
    for (size_t p = 0; p < panels; ++p) {
      for (size_t t = 0; t < tokens; ++t) {
        Base::store(job, panel + p, begin + t, V::load(scratch.acc[t][p]));
      }
    }
  }

  static void run_tile(const MatmulJob& job, const Span& span, size_t panels, size_t begin,
                       size_t done, size_t tokens) {
    Scratch& scratch = *reinterpret_cast<Scratch*>(job.scratch);
    alignas(64) int8_t gathered[kTileRows][K::kChunkColumns];
    size_t at[kTileRows];
    for (size_t t = 0; t < tokens; ++t) {
      at[t] = Base::activation_row(job, begin + done + t) + span.begin;
    }
    TileTokens tile{job.activations->q + at[0], job.columns, tokens, at};
    if (job.row_index || tokens < kTileRows) {
      for (size_t t = 0; t < kTileRows; ++t) {
        const size_t from = at[t < tokens ? t : 0];
        std::memcpy(gathered[t], job.activations->q + from, span.columns);
      }
      tile.x = gathered[0];
      tile.stride = K::kChunkColumns;
    }
    K::template tiles<Tiles>(scratch.chunk, panels, span.columns, *job.activations, tile,
                             [&](size_t t, size_t p) { return scratch.acc[done + t][p]; });
  }
};

}  // namespace
}  // namespace zs::kernels
