// One function per instruction-set file of this folder.
#pragma once

#include "kernels/table.h"

namespace zs::kernels {

const Table* scalar_table();
const Table* avx2_table();
const Table* avx_vnni_table();
const Table* avx_vnni_model_table();
const Table* avx512_table();
const Table* avx512_bf16_table();
const Table* amx_bf16_table();
const Table* bf16_dot_model_table();
const Table* amx_table();
const Table* amx_model_table();

}  // namespace zs::kernels
