// The registry of operators, from the manifest, and the checks they share.
#include "graph/op.h"

#include "base/error.h"
#include "graph/trained_guess.h"

namespace zs::graph {

MakeOp find_op(const std::string& kind) {
#define ZS_OP(name) \
  if (kind == #name) return make_##name;
#include "graph/ops.inc"
#undef ZS_OP
  return nullptr;
}

const TrainedGuess* BuildContext::trained_guess(size_t layer, experts::Guess stage) const {
  if (!trained) return nullptr;
  for (const TrainedGuess& guess : *trained) {
    if (guess.layer == layer && guess.stage == stage) return &guess;
  }
  return nullptr;
}

void BuildContext::arity(size_t inputs, size_t outputs, size_t weights_min,
                         size_t weights_max) const {
  const auto wrong = [&](const char* what, size_t found, const std::string& expected) {
    attrs.fail("has " + std::to_string(found) + " " + what + ", expected " + expected);
  };
  if (spec_.inputs.size() != inputs) wrong("inputs", spec_.inputs.size(), std::to_string(inputs));
  if (spec_.outputs.size() != outputs) {
    wrong("outputs", spec_.outputs.size(), std::to_string(outputs));
  }
  if (spec_.weights.size() < weights_min || spec_.weights.size() > weights_max) {
    wrong("weights", spec_.weights.size(),
          std::to_string(weights_min) + " to " + std::to_string(weights_max));
  }
}

void BuildContext::expect_width(size_t width, size_t expected, const char* what) const {
  if (width != expected) {
    attrs.fail(std::string(what) + " is " + std::to_string(width) + " wide, expected " +
               std::to_string(expected));
  }
}

const WeightRef& BuildContext::need_weight(size_t i) const {
  if (!has_weight(i)) attrs.fail("weight " + std::to_string(i) + " is required");
  return spec_.weights[i];
}

}  // namespace zs::graph
