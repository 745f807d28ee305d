// Instruction sets as Python names them.
#pragma once

#include <string>

#include "base/error.h"
#include "kernels/table.h"

namespace zs::bind {

inline constexpr kernels::Isa kIsas[] = {kernels::Isa::Scalar, kernels::Isa::Avx2,
                                         kernels::Isa::Avx512};

inline const kernels::Table& table_by_name(const std::string& name) {
  for (kernels::Isa isa : kIsas) {
    if (name != kernels::isa_name(isa)) continue;
    if (const kernels::Table* found = kernels::table(isa)) return *found;
  }
  throw Error(ErrorKind::InvalidRequest, "instruction set \"" + name +
                                             "\" is unknown or missing on this CPU; isas() lists "
                                             "those it has.");
}

}  // namespace zs::bind
