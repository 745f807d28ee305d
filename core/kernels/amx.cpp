// The kernels in AMX: integer products of many tokens on tiles, the rest in AVX-512.
// GCC 12 warns about the undefined operands in its own intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "kernels/isa_tables.h"
#include "kernels/table_impl.h"
#include "kernels/tile_table.h"
#include "kernels/tile_unit.h"
#include "kernels/vec_avx512.h"

namespace zs::kernels {
namespace {

// The cores that have AMX gain from fetching where Zen 4 loses (docs/adr/0003).
struct FetchingVec : Avx512Vec {
  static constexpr bool kPrefetchPages = true;
  static constexpr bool kPrefetchParts = true;
  static constexpr size_t kFarAhead = 3584;
};

const Table* few_tokens_table() {
  static constexpr Table table = make_table<FetchingVec>(Isa::Amx);
  return &table;
}

}  // namespace

const Table* amx_table() {
  static const Table table = make_tile_table<FetchingVec, TileUnit, few_tokens_table>(Isa::Amx);
  return &table;
}

}  // namespace zs::kernels
