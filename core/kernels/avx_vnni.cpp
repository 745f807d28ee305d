// The kernels in AVX2 with AVX-VNNI: its products and attention, everything else from AVX2.
#include "kernels/attention.h"
#include "kernels/isa_tables.h"
#include "kernels/linear_table.h"
#include "kernels/vec_vnni.h"
#include "kernels/vnni_unit.h"

namespace zs::kernels {

const Table* avx_vnni_table() {
  using V = VnniVec<VnniUnit>;
  static const Table table = with_attention<V>(with_products<V>(*avx2_table(), Isa::AvxVnni));
  return &table;
}

}  // namespace zs::kernels
