// Field by field: the tape is a Python dataclass.
#include "bind/tape_spec.h"

#include <nanobind/stl/string.h>

namespace nb = nanobind;

namespace zs::bind {
namespace {

graph::Attribute attribute(nb::handle value) {
  if (nb::isinstance<nb::bool_>(value)) return nb::cast<bool>(value);
  if (nb::isinstance<nb::int_>(value)) return nb::cast<int64_t>(value);
  if (nb::isinstance<nb::float_>(value)) return nb::cast<double>(value);
  if (nb::isinstance<nb::str>(value)) return nb::cast<std::string>(value);
  std::vector<double> list;
  for (nb::handle item : value) list.push_back(nb::cast<double>(item));
  return list;
}

std::vector<int> indices(nb::handle sequence) {
  std::vector<int> list;
  for (nb::handle item : sequence) list.push_back(nb::cast<int>(item));
  return list;
}

}  // namespace

graph::TapeSpec tape_spec(nb::object tape) {
  graph::TapeSpec spec;
  for (nb::handle width : tape.attr("widths")) spec.widths.push_back(nb::cast<int64_t>(width));
  for (nb::handle op : tape.attr("ops")) {
    graph::OpSpec& o = spec.ops.emplace_back();
    o.kind = nb::cast<std::string>(op.attr("kind"));
    o.inputs = indices(op.attr("inputs"));
    o.outputs = indices(op.attr("outputs"));
    for (nb::handle weight : op.attr("weights")) {
      graph::WeightRef& ref = o.weights.emplace_back();
      if (weight.is_none()) continue;
      ref.name = nb::cast<std::string>(weight.attr("name"));
      ref.row_begin = nb::cast<int64_t>(weight.attr("row_begin"));
      nb::object end = weight.attr("row_end");
      ref.row_end = end.is_none() ? -1 : nb::cast<int64_t>(end);
    }
    for (auto [name, value] : nb::cast<nb::dict>(op.attr("attrs"))) {
      o.attrs.emplace(nb::cast<std::string>(name), attribute(value));
    }
  }
  return spec;
}

}  // namespace zs::bind
