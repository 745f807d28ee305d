// AMX with the BF16 dot instructions for BF16 weights: many tokens on tiles, few in AVX-512.
// GCC 12 warns about the undefined operands in its own intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "kernels/bf16_dot_unit.h"
#include "kernels/bf16_tile_unit.h"
#include "kernels/isa_tables.h"
#include "kernels/linear_bf16_tiles.h"

namespace zs::kernels {
namespace {

using Tiles = Bf16TileMatmul<Bf16DotUnit, Bf16TileUnit>;

Table with_bf16_tiles() {
  Table table = *amx_table();
  table.isa = Isa::Bf16Dot;
  table.matmul[static_cast<size_t>(Format::BF16)] = Tiles::run;
  return table;
}

}  // namespace

const Table* amx_bf16_table() {
  static const Table table = with_bf16_tiles();
  return &table;
}

}  // namespace zs::kernels
