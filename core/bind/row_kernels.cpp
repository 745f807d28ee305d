// The kernels over rows of floats, for tests. Each takes the name of an instruction set.
#include "bind/row_kernels.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>
#include <string>

#include "base/error.h"
#include "bind/arrays.h"
#include "kernels/select.h"

namespace nb = nanobind;

namespace zs::bind {
namespace {

using kernels::Table;
using OptionalInput = std::optional<FloatInput>;

void check_size(const char* what, size_t found, size_t expected) {
  if (found != expected) {
    throw Error(ErrorKind::InvalidRequest, std::string(what) + " has " + std::to_string(found) +
                                               " values, expected " + std::to_string(expected) +
                                               ".");
  }
}
const float* optional_data(const char* what, const OptionalInput& input, size_t expected) {
  if (!input) return nullptr;
  check_size(what, input->size(), expected);
  return input->data();
}

FloatVector rms_norm(const std::string& isa, FloatInput x, OptionalInput weight, float eps) {
  FloatVector y = make_array<FloatVector>({x.size()});
  kernels::table_named(isa).rms_norm(x.data(), optional_data("weight", weight, x.size()), y.data(),
                                     x.size(), eps);
  return y;
}

FloatVector layer_norm(const std::string& isa, FloatInput x, OptionalInput weight,
                       OptionalInput bias, float eps) {
  FloatVector y = make_array<FloatVector>({x.size()});
  kernels::table_named(isa).layer_norm(x.data(), optional_data("weight", weight, x.size()),
                                       optional_data("bias", bias, x.size()), y.data(), x.size(),
                                       eps);
  return y;
}

FloatVector add(const std::string& isa, FloatInput a, FloatInput b, float scale) {
  check_size("b", b.size(), a.size());
  FloatVector y = make_array<FloatVector>({a.size()});
  kernels::table_named(isa).add(a.data(), b.data(), y.data(), a.size(), scale);
  return y;
}

FloatVector activate(const std::string& isa, const std::string& kind, FloatInput gate,
                     OptionalInput up) {
  FloatVector y = make_array<FloatVector>({gate.size()});
  const float* factor = optional_data("up", up, gate.size());
  const auto activation = kernels::find_activation(kind);
  if (!activation) {
    throw Error(ErrorKind::InvalidRequest, "activation \"" + kind +
                                               "\" is unknown; expected one of " +
                                               kernels::activation_names() + ".");
  }
  kernels::table_named(isa).activate(*activation, gate.data(), factor, y.data(), gate.size());
  return y;
}

FloatVector sigmoid(const std::string& isa, FloatInput x) {
  FloatVector y = make_array<FloatVector>({x.size()});
  kernels::table_named(isa).sigmoid(x.data(), y.data(), x.size());
  return y;
}

FloatVector scale(const std::string& isa, FloatInput x, float factor) {
  FloatVector y = make_array<FloatVector>({x.size()});
  kernels::table_named(isa).scale(x.data(), factor, y.data(), x.size());
  return y;
}

FloatVector axpy(const std::string& isa, FloatInput x, float factor, FloatInput y) {
  check_size("y", y.size(), x.size());
  FloatVector out = make_array<FloatVector>({x.size()});
  std::copy_n(y.data(), y.size(), out.data());
  kernels::table_named(isa).axpy(x.data(), factor, out.data(), x.size());
  return out;
}

nb::tuple exp_sum(const std::string& isa, FloatInput x) {
  FloatVector y = make_array<FloatVector>({x.size()});
  const float sum = kernels::table_named(isa).exp_sum(x.data(), y.data(), x.size());
  return nb::make_tuple(y, sum);
}

FloatVector softcap(const std::string& isa, FloatInput x, float cap) {
  FloatVector y = make_array<FloatVector>({x.size()});
  kernels::table_named(isa).softcap(x.data(), cap, y.data(), x.size());
  return y;
}

FloatVector rope(const std::string& isa, const std::string& mode, FloatInput x, FloatInput table) {
  if (table.size() % 2 != 0 || table.size() > x.size()) {
    throw Error(ErrorKind::InvalidRequest, "the table holds pairs, no more than x has values.");
  }
  if (mode != "neox" && mode != "normal") {
    throw Error(ErrorKind::InvalidRequest,
                "mode \"" + mode + "\" is unknown; expected neox or normal.");
  }
  FloatVector y = make_array<FloatVector>({x.size()});
  const Table& t = kernels::table_named(isa);
  (mode == "neox" ? t.rope_neox : t.rope_normal)(x.data(), table.data(), y.data(), x.size(),
                                                 table.size());
  return y;
}

}  // namespace

void row_kernels(nb::module_& m) {
  m.def("rms_norm", rms_norm, nb::arg("isa"), nb::arg("x"), nb::arg("weight").none(),
        nb::arg("eps"), "x / sqrt(mean(x^2) + eps) * weight.");
  m.def("layer_norm", layer_norm, nb::arg("isa"), nb::arg("x"), nb::arg("weight").none(),
        nb::arg("bias").none(), nb::arg("eps"),
        "(x - mean(x)) / sqrt(var(x) + eps) * weight + bias.");
  m.def("add", add, nb::arg("isa"), nb::arg("a"), nb::arg("b"), nb::arg("scale"), "a + scale * b.");
  m.def("activate", activate, nb::arg("isa"), nb::arg("kind"), nb::arg("gate"),
        nb::arg("up") = nb::none(), "act(gate) * up, with kind silu, gelu or gelu_tanh.");
  m.def("sigmoid", sigmoid, nb::arg("isa"), nb::arg("x"), "1 / (1 + exp(-x)).");
  m.def("scale", scale, nb::arg("isa"), nb::arg("x"), nb::arg("factor"), "x * factor.");
  m.def("axpy", axpy, nb::arg("isa"), nb::arg("x"), nb::arg("factor"), nb::arg("y"),
        "x * factor + y with one rounding.");
  m.def("exp_sum", exp_sum, nb::arg("isa"), nb::arg("x"),
        nb::sig("def exp_sum(isa: str, x: numpy.typing.NDArray[numpy.float32]) -> "
                "tuple[numpy.typing.NDArray[numpy.float32], float]"),
        "exp(x - max(x)) and its sum.");
  m.def("softcap", softcap, nb::arg("isa"), nb::arg("x"), nb::arg("cap"), "cap * tanh(x / cap).");
  m.def("rope", rope, nb::arg("isa"), nb::arg("mode"), nb::arg("x"), nb::arg("table"),
        "Rotates the first len(table) values of one head by (cos, sin) pairs; mode neox or "
        "normal.");
}

}  // namespace zs::bind
