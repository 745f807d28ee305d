// The BF16 dot kernels over plain code, so that their order of arithmetic is tested on any machine.
#include "kernels/bf16_dot_model.h"

#include "kernels/isa_tables.h"
#include "kernels/linear_bf16_tiles.h"

namespace zs::kernels {
namespace {

Table with_bf16_dot() {
  Table table = *scalar_table();
  table.isa = Isa::Bf16DotModel;
  table.matmul[static_cast<size_t>(Format::BF16)] =
      Bf16TileMatmul<Bf16DotModel, Bf16TileModel>::run;
  return table;
}

}  // namespace

const Table* bf16_dot_model_table() {
  static const Table table = with_bf16_dot();
  return &table;
}

}  // namespace zs::kernels
