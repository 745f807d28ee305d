// The kernels in plain C++.
#include "kernels/isa_tables.h"
#include "kernels/table_impl.h"
#include "kernels/vec_scalar.h"

namespace zs::kernels {

const Table* scalar_table() {
  static constexpr Table table = make_table<ScalarVec>(Isa::Scalar);
  return &table;
}

}  // namespace zs::kernels
