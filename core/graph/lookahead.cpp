// The norm of a hidden state h is h / rms(h) * w, so another layer's norm of the same state is this
// one's times the ratio of the weights.
#include "graph/lookahead.h"

#include <algorithm>
#include <cmath>

#include "experts/states.h"
#include "experts/store.h"

namespace zs::graph {
namespace {

// Where a norm's weight is this small beside the largest, dividing by it says nothing.
constexpr float kSmallestPart = 1e-4f;

}  // namespace

Lookahead Lookahead::of_stream(BuildContext& build, size_t first, const RouterRule& rule, float eps,
                               size_t layer) {
  Lookahead l;
  const size_t width = build.input_width(0);
  const float* norm = build.vector(first, width);
  if (!norm) build.attrs.fail("the norm is missing");
  l.scale_.assign(norm, norm + width);
  l.eps_ = eps;
  l.stage_ = Stage::Late;
  l.read(build, first + 1, rule, layer);
  return l;
}

Lookahead Lookahead::of_normed(BuildContext& build, size_t first, const RouterRule& rule,
                               size_t layer) {
  Lookahead l;
  if (!build.has_weight(first + 2)) return l;
  const size_t width = build.input_width(0);
  const float* own = build.vector(first, width);
  const float* next = build.vector(first + 1, width);
  if (!own || !next) build.attrs.fail("the norms for the lookahead are missing");
  float most = 0;
  for (size_t i = 0; i < width; ++i) most = std::max(most, std::abs(own[i]));
  for (size_t i = 0; i < width; ++i) {
    l.scale_.push_back(std::abs(own[i]) > most * kSmallestPart ? next[i] / own[i] : 0.0f);
  }
  l.read(build, first + 2, rule, layer);
  return l;
}

void Lookahead::read(BuildContext& build, size_t router, const RouterRule& rule, size_t layer) {
  const size_t width = scale_.size();
  rule_ = rule;
  layer_ = layer;
  router_ = &build.weights.rough(build.matrix(router, rule.experts, width));
  bias_ = build.vector(router + 1, rule.experts);
  router_bias_ = build.vector(router + 2, rule.experts);
  plan_ = ActivationPlan(width, build.max_tokens);
  plan_.need(router_->format);
  if (const TrainedGuess* trained = build.trained_guess(layer, stage_)) {
    correction_ = Correction(*trained, width, rule.experts, build.max_tokens, build.attrs.where());
  }
  const auto take = [this](size_t bytes) {
    const size_t offset = end_;
    end_ += round_up(bytes, 64);
    return offset;
  };
  const size_t tokens = build.max_tokens, pairs = tokens * rule.used;
  scaled_ = take(tokens * width * sizeof(float));
  quantised_ = take(plan_.bytes());
  logits_ = take(tokens * rule.experts * sizeof(float));
  expected_ = take(tokens * rule.experts * sizeof(float));
  chosen_ = take(pairs * sizeof(int32_t));
  weights_ = take(pairs * sizeof(float));
  votes_ = take(rule.experts * sizeof(uint32_t));
  order_ = take(rule.experts * sizeof(uint32_t));
  corrected_ = take(correction_.shared_scratch());
}

void Lookahead::prepare(Worker& worker, const float* x, uint8_t* memory) const {
  const size_t width = scale_.size();
  float* scaled = reinterpret_cast<float*>(memory + scaled_);
  const Range own = worker.share(worker.step.tokens);
  for (size_t t = own.begin; t < own.end; ++t) {
    const float* from = x + t * width;
    float* to = scaled + t * width;
    if (eps_ > 0) {
      worker.kernels().rms_norm(from, scale_.data(), to, width, eps_);
    } else {
      for (size_t i = 0; i < width; ++i) to[i] = from[i] * scale_[i];
    }
  }
  if (plan_.quantised()) {
    plan_.fill(worker.kernels(), scaled, own.begin, own.end, memory + quantised_);
  }
}

size_t Lookahead::products(size_t tokens, uint8_t* memory, Product* out) const {
  const float* scaled = reinterpret_cast<const float*>(memory + scaled_);
  Product product;
  product.weight = router_;
  product.activations = plan_.view(router_->format, scaled, memory + quantised_);
  product.tokens = tokens;
  product.out = reinterpret_cast<float*>(memory + logits_);
  product.stride = rule_.experts;
  product.bias = router_bias_;
  out[0] = product;
  if (!correction_) return 1;
  out[1] = correction_.product(scaled, tokens, memory + corrected_);
  return 2;
}

void Lookahead::choose(Worker& worker, float* work, uint8_t* memory) const {
  float* logits = reinterpret_cast<float*>(memory + logits_);
  auto* chosen = reinterpret_cast<int32_t*>(memory + chosen_);
  auto* weights = reinterpret_cast<float*>(memory + weights_);
  const float* drift = worker.step.experts->drift().of(layer_, stage_);
  const Range own = worker.share(worker.step.tokens);
  for (size_t t = own.begin; t < own.end; ++t) {
    if (correction_) {
      correction_.apply(worker, t, memory + corrected_, logits + t * rule_.experts);
    }
    float* expected = reinterpret_cast<float*>(memory + expected_) + t * rule_.experts;
    for (size_t e = 0; e < rule_.experts; ++e)
      expected[e] = logits[t * rule_.experts + e] + drift[e];
    route(worker.kernels(), rule_, expected, bias_, nullptr, work, chosen + t * rule_.used,
          weights + t * rule_.used);
  }
}

// The experts that most tokens would choose, first those that one would choose first.
void Lookahead::tell(Worker& worker, uint8_t* memory) const {
  const auto* chosen = reinterpret_cast<const int32_t*>(memory + chosen_);
  auto* votes = reinterpret_cast<uint32_t*>(memory + votes_);
  auto* order = reinterpret_cast<uint32_t*>(memory + order_);
  std::fill_n(votes, rule_.experts, 0u);
  size_t count = 0;
  for (size_t i = 0; i < worker.step.tokens * rule_.used; ++i) {
    if (votes[chosen[i]]++ == 0) order[count++] = static_cast<uint32_t>(chosen[i]);
  }
  std::stable_sort(order, order + count,
                   [votes](uint32_t a, uint32_t b) { return votes[a] > votes[b]; });
  experts::Store& store = *worker.step.experts;
  store.predict(layer_, {order, count}, stage_);
  store.drift().guessed(
      layer_, stage_,
      {reinterpret_cast<const float*>(memory + expected_), worker.step.tokens * rule_.experts});
  if (experts::States* states = worker.step.states) {
    const bool early = stage_ == Stage::Early;
    states->add(layer_, early ? experts::StateKind::EarlyInput : experts::StateKind::LateInput,
                reinterpret_cast<const float*>(memory + scaled_), scale_.size());
    states->add(layer_, early ? experts::StateKind::EarlyGuess : experts::StateKind::LateGuess,
                reinterpret_cast<const float*>(memory + logits_), rule_.experts);
  }
}

}  // namespace zs::graph
