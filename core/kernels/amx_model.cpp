// The tile kernels over plain code, so that their order of arithmetic is tested on any machine.
#include "kernels/isa_tables.h"
#include "kernels/tile_model.h"
#include "kernels/tile_table.h"
#include "kernels/vec_scalar.h"

namespace zs::kernels {

const Table* amx_model_table() {
  static const Table table = make_tile_table<ScalarVec, TileModel, scalar_table>(Isa::AmxModel);
  return &table;
}

}  // namespace zs::kernels
