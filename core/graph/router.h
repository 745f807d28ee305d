// The choice of experts for one token, and their weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "graph/op.h"
#include "kernels/table.h"

namespace zs::graph {

enum class Gating : uint8_t { Softmax, Sigmoid };

struct RouterRule {
  size_t experts = 0, used = 0;
  Gating gating = Gating::Softmax;
  bool normalise = true;  // weights of the chosen sum to 1
  float scale = 1.0f;
};

// From the attributes experts, used, gating, normalise and scale.
RouterRule read_router_rule(BuildContext& build);

// From `experts` logits to `used` expert numbers, best first (ties: the lower number first), and
// their weights. Softmax: top-k on the logits; the weights are the softmax over the chosen if
// normalised, else their share of the softmax over all. Sigmoid (DeepSeek-V3): top-k on
// sigmoid(logit) + bias, weights from sigmoid(logit). `work` holds 2 * experts floats.
// `bonus`, one for each expert or nullptr, counts in the choice alone.
void route(const kernels::Table& kernels, const RouterRule& rule, const float* logits,
           const float* bias, const float* bonus, float* work, int32_t* chosen, float* weights);

}  // namespace zs::graph
