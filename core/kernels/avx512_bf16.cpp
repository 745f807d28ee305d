// AVX-512 with the BF16 dot instructions for BF16 weights.
// GCC 12 warns about the undefined operands in its own intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "kernels/bf16_dot_unit.h"
#include "kernels/isa_tables.h"
#include "kernels/linear_bf16_dot.h"

namespace zs::kernels {
namespace {

Table with_bf16_dot() {
  Table table = *avx512_table();
  table.isa = Isa::Bf16Dot;
  table.matmul[static_cast<size_t>(Format::BF16)] = bf16_dot_matmul<Bf16DotUnit>;
  return table;
}

}  // namespace

const Table* avx512_bf16_table() {
  static const Table table = with_bf16_dot();
  return &table;
}

}  // namespace zs::kernels
