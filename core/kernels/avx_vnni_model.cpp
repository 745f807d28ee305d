// The kernels of AVX-VNNI over its model, so that they are tested on any machine with AVX2.
#include "kernels/attention.h"
#include "kernels/isa_tables.h"
#include "kernels/linear_table.h"
#include "kernels/vec_vnni.h"
#include "kernels/vnni_model.h"

namespace zs::kernels {

const Table* avx_vnni_model_table() {
  using V = VnniVec<VnniModel>;
  static const Table table = with_attention<V>(with_products<V>(*avx2_table(), Isa::AvxVnniModel));
  return &table;
}

}  // namespace zs::kernels
