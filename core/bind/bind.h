// Every binding file defines one of these; module.cpp calls them in order.
#pragma once

#include <nanobind/nanobind.h>

namespace zs::bind {

void errors(nanobind::module_& m);
void gguf(nanobind::module_& m);
void quant(nanobind::module_& m);
void kernels(nanobind::module_& m);
void graph(nanobind::module_& m);
void sample(nanobind::module_& m);
void limits(nanobind::module_& m);
void topology(nanobind::module_& m);
void io(nanobind::module_& m);
void drive(nanobind::module_& m);

}  // namespace zs::bind
