// The table of an instruction set with its integer products moved to tiles.
#pragma once

#include "kernels/linear_legacy.h"
#include "kernels/linear_super.h"
#include "kernels/linear_tiles.h"
#include "kernels/table.h"
#include "quant/codecs.h"

namespace zs::kernels {
namespace {

template <const Table* (*base)(), Format format>
void base_matmul(const MatmulJob& job) {
  base()->matmul[static_cast<size_t>(format)](job);
}

template <class V, class Tiles, const Table* (*base)(), Format format, class Codec>
void use_tiles(Table& table) {
  constexpr auto few = base_matmul<base, format>;
  auto& matmul = table.matmul[static_cast<size_t>(format)];
  if constexpr (Codec::kActivations == ActivationKind::Q8_K) {
    matmul = TileMatmul<SuperKernel<V, Codec>, Tiles, few>::run;
  } else if constexpr (Codec::kActivations == ActivationKind::Q8_32) {
    matmul = TileMatmul<LegacyKernel<V, Codec>, Tiles, few>::run;
  }
}

// `base` is the table of V, which computes whatever tiles do not.
template <class V, class Tiles, const Table* (*base)()>
Table make_tile_table(Isa isa) {
  Table table = *base();
  table.isa = isa;
#define ZS_FORMAT(type, name, id) use_tiles<V, Tiles, base, Format::type, quant::type>(table);
#include "quant/formats.inc"
#undef ZS_FORMAT
  return table;
}

}  // namespace
}  // namespace zs::kernels
