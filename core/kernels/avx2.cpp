// The kernels in AVX2.
#include "kernels/isa_tables.h"
#include "kernels/table_impl.h"
#include "kernels/vec_avx2.h"

namespace zs::kernels {

const Table* avx2_table() {
  static constexpr Table table = make_table<Avx2Vec>(Isa::Avx2);
  return &table;
}

}  // namespace zs::kernels
