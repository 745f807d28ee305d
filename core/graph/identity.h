// What a model's keys and values depend on, as one number.
#pragma once

#include <cstdint>

#include "graph/program.h"
#include "kernels/table.h"

namespace zs::graph {

// Equal for two programs whose tokens give the same keys and values: of the model's metadata, the
// sizes of its files, some bytes of each tensor (two trainings of a model may have the same
// metadata), the tape, and settings that change bits. Reads the files. Throws Storage.
uint64_t identity(const Program& program, kernels::Isa isa);

}  // namespace zs::graph
