// The kernels of each instruction set, for tests and measurements.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "bind/arrays.h"
#include "bind/bind.h"
#include "bind/format_names.h"
#include "bind/row_kernels.h"
#include "kernels/select.h"

namespace nb = nanobind;

namespace zs::bind {
namespace {

using zs::kernels::Activations;
using zs::kernels::Table;

// Activations of a whole matrix, with the memory that they point to.
struct Prepared {
  Activations view;
  std::vector<int8_t> q;
  std::vector<float> scales;
  std::vector<int16_t> sums16, sums32;
};

void prepare(const Table& table, quant::ActivationKind kind, const float* x, size_t rows,
             size_t columns, Prepared& out) {
  out.view.kind = kind;
  out.view.columns = columns;
  out.view.f = x;
  if (kind == quant::ActivationKind::F32) return;
  const bool super = kind == quant::ActivationKind::Q8_K;
  const size_t group = super ? 256 : 32;
  if (columns % group != 0) {
    throw Error(ErrorKind::InvalidRequest, "activations have " + std::to_string(columns) +
                                               " columns, expected a multiple of " +
                                               std::to_string(group) + ".");
  }
  out.q.resize(rows * columns);
  out.scales.resize(rows * columns / group);
  out.sums16.resize(rows * columns / 16);
  out.sums32.resize(rows * columns / 32);
  for (size_t r = 0; r < rows; ++r) {
    const size_t at = r * columns;
    if (super) {
      table.quantize_q8_k(x + at, columns, out.q.data() + at, out.scales.data() + at / group,
                          out.sums16.data() + at / 16, out.sums32.data() + at / 32);
    } else {
      table.quantize_q8_32(x + at, columns, out.q.data() + at, out.scales.data() + at / group,
                           out.sums32.data() + at / 32);
    }
  }
  out.view.q = out.q.data();
  out.view.scales = out.scales.data();
  out.view.sums16 = out.sums16.data();
  out.view.sums32 = out.sums32.data();
}

template <class Array, class T>
Array copy_array(const std::vector<T>& from) {
  Array out = make_array<Array>({from.size()});
  std::copy(from.begin(), from.end(), out.data());
  return out;
}

nb::tuple quantize(const std::string& kind, FloatInput x, const std::string& isa) {
  if (kind != "Q8_K" && kind != "Q8_32") {
    throw Error(ErrorKind::InvalidRequest,
                "activation kind \"" + kind + "\" is unknown; expected Q8_K or Q8_32.");
  }
  Prepared p;
  prepare(kernels::table_named(isa),
          kind == "Q8_K" ? quant::ActivationKind::Q8_K : quant::ActivationKind::Q8_32, x.data(), 1,
          x.size(), p);
  return nb::make_tuple(copy_array<Int8Vector>(p.q), copy_array<FloatVector>(p.scales),
                        copy_array<Int16Vector>(p.sums16), copy_array<Int16Vector>(p.sums32));
}

FloatMatrix matmul(const std::string& name, ByteInput packed, size_t rows, size_t columns,
                   FloatMatrixInput x, const std::string& isa, std::optional<FloatInput> bias,
                   std::optional<IndexInput> row_index) {
  const quant::FormatTraits& t = format_by_name(name);
  const Table& table = kernels::table_named(isa);
  const size_t panels = (rows + quant::kPanelRows - 1) / quant::kPanelRows;
  const size_t bytes = matrix_bytes(t, panels * quant::kPanelRows, columns);
  if (packed.size() != bytes) throw wrong_size(t, "packed", packed.size(), bytes);
  if (x.shape(1) != columns || (bias && bias->size() != rows)) {
    throw Error(ErrorKind::InvalidRequest,
                "x must have as many columns as the weight, and bias "
                "as many values as the weight has rows.");
  }
  const size_t tokens = row_index ? row_index->size() : x.shape(0);
  for (size_t i = 0; row_index && i < tokens; ++i) {
    const int32_t row = row_index->data()[i];
    if (row < 0 || static_cast<size_t>(row) >= x.shape(0)) {
      throw Error(ErrorKind::InvalidRequest,
                  "row_index " + std::to_string(row) + " is not a row of x.");
    }
  }
  Prepared p;
  prepare(table, t.activations, x.data(), x.shape(0), columns, p);
  FloatMatrix out = make_array<FloatMatrix>({tokens, rows});
  std::vector<uint8_t> scratch(kernels::matmul_scratch_bytes(kernels::kMaxTokens) + 63);
  kernels::MatmulJob job;
  job.packed = packed.data();
  job.weight_rows = rows;
  job.columns = columns;
  job.activations = &p.view;
  job.panel_end = panels;
  job.out_stride = rows;
  job.bias = bias ? bias->data() : nullptr;
  job.scratch = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64;
  std::vector<int32_t> index(tokens);
  for (size_t i = 0; i < tokens; ++i) {
    index[i] = row_index ? row_index->data()[i] : static_cast<int32_t>(i);
  }
  for (size_t begin = 0; begin < tokens; begin += kernels::kMaxTokens) {
    job.row_index = index.data() + begin;
    job.tokens = std::min(kernels::kMaxTokens, tokens - begin);
    job.out = out.data() + begin * rows;
    table.matmul[static_cast<size_t>(t.format)](job);
  }
  return out;
}

std::vector<std::string> names_of(const std::vector<kernels::Isa>& isas) {
  std::vector<std::string> names;
  for (kernels::Isa isa : isas) names.emplace_back(kernels::isa_name(isa));
  return names;
}

std::vector<std::string> isas() {
  return names_of(kernels::available());
}

std::vector<std::string> isa_models() {
  return names_of(kernels::models());
}

std::string selected_isa() {
  return kernels::isa_name(kernels::select().isa);
}

}  // namespace

void kernels(nb::module_& m) {
  m.def("isas", isas, "The instruction sets that this CPU and this build have.");
  m.def("isa_models", isa_models,
        "Models, in other instructions, of units that a CPU may lack: for tests, never chosen.");
  m.def("selected_isa", selected_isa,
        "The instruction set that runs: the best one, or the one that ZEROSTALL_ISA names.\n\n"
        "Raises InvalidRequestError when that is unknown or the CPU lacks it.");
  m.def("quantize", quantize, nb::arg("kind"), nb::arg("x"), nb::arg("isa"),
        nb::sig("def quantize(kind: str, x: numpy.typing.NDArray[numpy.float32], isa: str) -> "
                "tuple[numpy.typing.NDArray[typing.Any], ...]"),
        "Quantises activations to int8, kind Q8_K (blocks of 256) or Q8_32 (of 32).\n\n"
        "Returns the values, the scale of each block, the sums of each 16 and of each 32 values "
        "(of each 16 only for Q8_K, else zeros).");
  m.def("matmul", matmul, nb::arg("format"), nb::arg("packed"), nb::arg("rows"), nb::arg("columns"),
        nb::arg("x"), nb::arg("isa"), nb::arg("bias") = nb::none(),
        nb::arg("row_index") = nb::none(),
        "x W^T + bias as float32 [tokens, rows], for x float32 [tokens, columns] and a weight "
        "W that pack() made. row_index chooses rows of x.");
  row_kernels(m);
}

}  // namespace zs::bind
