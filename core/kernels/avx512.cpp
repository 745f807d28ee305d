// The kernels in AVX-512.
// GCC 12 warns about the undefined operands in its own intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "kernels/isa_tables.h"
#include "kernels/table_impl.h"
#include "kernels/vec_avx512.h"

namespace zs::kernels {

const Table* avx512_table() {
  static constexpr Table table = make_table<Avx512Vec>(Isa::Avx512);
  return &table;
}

}  // namespace zs::kernels
