// Elementwise kernels, a part of kernels(); their own file for length.
#pragma once

#include <nanobind/nanobind.h>

namespace zs::bind {

void row_kernels(nanobind::module_& m);

}  // namespace zs::bind
