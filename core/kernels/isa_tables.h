// One function per instruction-set file of this folder.
#pragma once

#include "kernels/table.h"

namespace zs::kernels {

const Table* scalar_table();
const Table* avx2_table();
const Table* avx512_table();

}  // namespace zs::kernels
