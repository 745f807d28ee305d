// The kernels in AVX2 with AVX-VNNI: its products, everything else from AVX2.
#include "kernels/isa_tables.h"
#include "kernels/linear_table.h"
#include "kernels/vec_vnni.h"
#include "kernels/vnni_unit.h"

namespace zs::kernels {

const Table* avx_vnni_table() {
  static const Table table = with_products<VnniVec<VnniUnit>>(*avx2_table(), Isa::AvxVnni);
  return &table;
}

}  // namespace zs::kernels
