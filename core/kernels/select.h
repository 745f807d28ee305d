// Which instruction set's table runs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/table.h"

namespace zs::kernels {

// The table of an ISA this build and this CPU have; nullptr otherwise.
const Table* table(Isa isa);
// The table of that name. Throws InvalidRequest when it is unknown or the CPU lacks it.
const Table& table_named(const std::string& name);
// The best table, or the one ZEROSTALL_ISA names; throws as table_named does.
const Table& select();
// Those that this build and this CPU have, worst first; the models among those that run by name.
std::vector<Isa> available();
std::vector<Isa> models();
const char* isa_name(Isa isa);

std::optional<Activation> find_activation(const std::string& name);
std::string activation_names();  // all, for a message

}  // namespace zs::kernels
