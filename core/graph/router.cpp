// Top-k by insertion: k is small, and logits are few.
#include "graph/router.h"

namespace zs::graph {
namespace {

void top_k(const float* score, size_t n, size_t k, int32_t* chosen) {
  size_t count = 0;
  for (size_t e = 0; e < n; ++e) {
    if (count == k && !(score[e] > score[chosen[k - 1]])) continue;
    size_t at = count < k ? count++ : k - 1;
    for (; at > 0 && score[e] > score[chosen[at - 1]]; --at) chosen[at] = chosen[at - 1];
    chosen[at] = static_cast<int32_t>(e);
  }
}

constexpr int64_t kMaxExperts = 1 << 16;

}  // namespace

RouterRule read_router_rule(BuildContext& build) {
  RouterRule rule;
  const int64_t experts = build.attrs.integer("experts", 1, kMaxExperts);
  rule.experts = experts;
  rule.used = build.attrs.integer("used", 1, experts);
  const std::string gating = build.attrs.text("gating", "softmax");
  if (gating != "softmax" && gating != "sigmoid") {
    build.attrs.fail("gating is '" + gating + "', expected softmax or sigmoid");
  }
  rule.gating = gating == "softmax" ? Gating::Softmax : Gating::Sigmoid;
  rule.normalise = build.attrs.boolean("normalise", true);
  rule.scale = build.attrs.real("scale", 1.0f);
  return rule;
}

void route(const kernels::Table& kernels, const RouterRule& rule, const float* logits,
           const float* bias, const float* bonus, float* work, int32_t* chosen, float* weights) {
  const size_t n = rule.experts, k = rule.used;
  float sum = 0;
  float* score = work + n;
  if (rule.gating == Gating::Softmax) {
    if (bonus) {
      for (size_t e = 0; e < n; ++e) score[e] = logits[e] + bonus[e];
    }
    top_k(bonus ? score : logits, n, k, chosen);
    for (size_t i = 0; i < k; ++i) weights[i] = logits[chosen[i]];
    if (rule.normalise) {
      sum = kernels.exp_sum(weights, weights, k);
    } else {
      sum = kernels.exp_sum(logits, work, n);
      for (size_t i = 0; i < k; ++i) weights[i] = work[chosen[i]];
    }
  } else {
    kernels.sigmoid(logits, work, n);
    for (size_t e = 0; e < n; ++e) {
      score[e] = (bias ? work[e] + bias[e] : work[e]) + (bonus ? bonus[e] : 0.0f);
    }
    top_k(score, n, k, chosen);
    for (size_t i = 0; i < k; ++i) sum += weights[i] = work[chosen[i]];
    if (!rule.normalise) sum = 1.0f;
  }
  for (size_t i = 0; i < k; ++i) weights[i] = weights[i] / sum * rule.scale;
}

}  // namespace zs::graph
