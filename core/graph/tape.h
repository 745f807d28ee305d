// The tape as it arrives from Python: operators by name over named weights (src/zerostall/
// tape.py has the same fields). Nothing here is checked; the operators do that.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace zs::graph {

struct WeightRef {
  std::string name;  // empty: absent
  int64_t row_begin = 0;
  int64_t row_end = -1;  // -1: to the last row
};

using Attribute = std::variant<bool, int64_t, double, std::string, std::vector<double>>;

struct OpSpec {
  std::string kind;
  std::vector<int> inputs, outputs;  // buffer indices
  std::vector<WeightRef> weights;
  std::map<std::string, Attribute> attrs;
};

struct TapeSpec {
  std::vector<OpSpec> ops;
  std::vector<int64_t> widths;  // floats per token of each buffer
};

}  // namespace zs::graph
