// Weight formats: names, sizes, decoding and packing.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "bind/arrays.h"
#include "bind/bind.h"
#include "bind/format_names.h"
#include "quant/encode.h"

namespace nb = nanobind;

namespace zs::bind {
namespace {

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (int i = 0; i < quant::kFormatCount; ++i) {
    names.emplace_back(quant::traits(static_cast<quant::Format>(i)).name);
  }
  return names;
}

nb::dict format_traits(const std::string& name) {
  const quant::FormatTraits& t = format_by_name(name);
  nb::dict d;
  d["gguf_id"] = t.gguf_id;
  d["block_values"] = t.block_values;
  d["block_bytes"] = t.block_bytes;
  d["activations"] = t.activations == quant::ActivationKind::F32     ? "F32"
                     : t.activations == quant::ActivationKind::Q8_32 ? "Q8_32"
                                                                     : "Q8_K";
  return d;
}

FloatVector decode(const std::string& name, ByteInput data, size_t values) {
  const quant::FormatTraits& t = format_by_name(name);
  const size_t bytes = matrix_bytes(t, 1, values);
  if (data.size() != bytes) throw wrong_size(t, "data", data.size(), bytes);
  FloatVector out = make_array<FloatVector>({values});
  const nb::gil_scoped_release release;
  t.decode(data.data(), out.data(), values / t.block_values);
  return out;
}

std::vector<std::string> encodable_formats() {
  std::vector<std::string> names;
  for (int i = 0; i < quant::kFormatCount; ++i) {
    const auto format = static_cast<quant::Format>(i);
    if (quant::encoder(format)) names.emplace_back(quant::traits(format).name);
  }
  return names;
}

ByteVector encode(const std::string& name, FloatInput values) {
  const quant::FormatTraits& t = format_by_name(name);
  const quant::Encode encode = quant::encoder(t.format);
  if (!encode) throw Error(ErrorKind::InvalidRequest, name + " is a format that is only read.");
  ByteVector out = make_array<ByteVector>({matrix_bytes(t, 1, values.size())});
  const nb::gil_scoped_release release;
  const float* end = values.data() + values.size();
  const float* odd =
      std::find_if_not(values.data(), end, [](float value) { return std::isfinite(value); });
  if (odd != end) {
    throw Error(ErrorKind::InvalidRequest,
                name + ": value " + std::to_string(odd - values.data()) + " is not finite.");
  }
  encode(values.data(), out.data(), values.size() / t.block_values);
  return out;
}

ByteVector pack(const std::string& name, ByteInput data, size_t rows, size_t columns) {
  const quant::FormatTraits& t = format_by_name(name);
  const size_t bytes = matrix_bytes(t, rows, columns);
  if (data.size() != bytes) throw wrong_size(t, "data", data.size(), bytes);
  const size_t row_bytes = quant::row_bytes(t.format, columns);
  const size_t panel_bytes = quant::panel_bytes(t.format, columns);
  const size_t panels = (rows + quant::kPanelRows - 1) / quant::kPanelRows;
  ByteVector out = make_array<ByteVector>({panels * panel_bytes});
  const nb::gil_scoped_release release;
  for (size_t p = 0; p < panels; ++p) {
    const size_t row = p * quant::kPanelRows, left = rows - row;
    t.pack(data.data() + row * row_bytes, row_bytes,
           left < quant::kPanelRows ? static_cast<int>(left) : quant::kPanelRows,
           columns / t.block_values, out.data() + p * panel_bytes);
  }
  return out;
}

}  // namespace

void quant(nb::module_& m) {
  m.def("format_names", format_names, "The weight formats, as GGUF spells them.");
  m.def("format_traits", format_traits, nb::arg("format"),
        nb::sig("def format_traits(format: str) -> dict[str, typing.Any]"),
        "The sizes of a weight format: gguf_id, block_values, block_bytes, and activations, how "
        "activations are prepared for it (F32, Q8_32 or Q8_K).");
  m.def("decode", decode, nb::arg("format"), nb::arg("data"), nb::arg("values"),
        "Decodes `values` weights from their bytes to float32.\n\n"
        "Raises InvalidRequestError for an unknown format or a size that does not fit.");
  m.def("encodable_formats", encodable_formats, "The formats that encode() writes.");
  m.def("encode", encode, nb::arg("format"), nb::arg("values"),
        "Quantises finite float32 values [n] to the nearest that the format can say: its bytes.\n\n"
        "Raises InvalidRequestError for a format that is only read, a size that does not fit or a\n"
        "value that is not finite.");
  m.def("pack", pack, nb::arg("format"), nb::arg("data"), nb::arg("rows"), nb::arg("columns"),
        "Packs a row-major matrix into panels of 16 rows, the last one filled with zero rows.\n\n"
        "Raises InvalidRequestError for an unknown format or a size that does not fit.");
}

}  // namespace zs::bind
