// Matrix products on tile registers: 16 tokens times 16 rows, one group of columns at a time, so
// that the group's integer scale still applies to an exact sum and the bits stay those of every
// other instruction set. Over the packed panels and unpacked chunks of linear_matmul.h.
//
// Tiles is TileUnit (tile_unit.h) or, on any machine, TileModel (tile_model.h):
//
//   static constexpr size_t kMinTokens;   // fewer are left to `few`
//   struct Use { Use(); ~Use(); };        // tiles may be used while one exists
//   template <int Steps> static void product(const int8_t* x, size_t stride, const uint8_t* w,
//                                            int32_t (*out)[16]);
//       // out[t][r] = sum over k < 4 * Steps of x[t * stride + k] * w[k / 4][r][k % 4], exact
#pragma once

#include <cstring>

#include "kernels/linear_matmul.h"

namespace zs::kernels {
namespace {

template <class K, class Tiles, void (*few)(const MatmulJob&)>
struct TileMatmul {
  using V = typename K::V;
  using Base = Matmul<K>;
  using Scratch = typename Base::Scratch;
  static constexpr size_t kPanels = Base::kTilePanels;

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
        K::unpack(of_panel, scratch.chunk[p]);
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
    for (size_t p = 0; p < panels; ++p) {
      K::template tiles<Tiles>(scratch.chunk[p], span.columns, *job.activations, tile,
                               [&](size_t t) { return scratch.acc[done + t][p]; });
    }
  }
};

}  // namespace
}  // namespace zs::kernels
