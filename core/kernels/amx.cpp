// The kernels in AMX: integer products of many tokens on tiles, the rest in AVX-512.
// GCC 12 warns about the undefined operands in its own intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "kernels/isa_tables.h"
#include "kernels/tile_table.h"
#include "kernels/tile_unit.h"
#include "kernels/vec_avx512.h"

namespace zs::kernels {

const Table* amx_table() {
  static const Table table = make_tile_table<Avx512Vec, TileUnit, avx512_table>(Isa::Amx);
  return &table;
}

}  // namespace zs::kernels
