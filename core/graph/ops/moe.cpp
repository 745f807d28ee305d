// A mixture of experts: route, group tokens by expert, run all experts as one list of work, and
// add their results in router order, so that the sum does not depend on who finished first.
#include <algorithm>

#include "experts/states.h"
#include "experts/store.h"
#include "graph/expert_waves.h"
#include "graph/gated_ffn.h"
#include "graph/lookahead.h"
#include "graph/router.h"

namespace zs::graph {
namespace {

class Moe final : public Op {
 public:
  static constexpr size_t kForLookahead = 9;  // weights from here on

  explicit Moe(BuildContext& build) : max_tokens_(build.max_tokens) {
    build.arity(1, 1, 5, kForLookahead + Lookahead::kWeights);
    in_ = build.input(0);
    out_ = build.output(0);
    const size_t d_model = build.input_width(0);
    build.expect_width(build.output_width(0), d_model, "the output");
    rule_ = read_router_rule(build);
    router_ = &build.matrix(0, rule_.experts, d_model);
    bias_ = build.vector(1, rule_.experts);
    gate_ = &build.experts(2, rule_.experts, 0, d_model);
    up_ = &build.experts(3, rule_.experts, gate_->first.rows, d_model);
    down_ = &build.experts(4, rule_.experts, d_model, gate_->first.rows);
    router_bias_ = build.vector(5, rule_.experts);
    gate_bias_ = build.vectors(6, rule_.experts, gate_->first.rows);
    up_bias_ = build.vectors(7, rule_.experts, gate_->first.rows);
    down_bias_ = build.vectors(8, rule_.experts, d_model);
    route_plan_ = ActivationPlan(d_model, max_tokens_);
    route_plan_.need(router_->format);
    const auto layer = build.weights.stream(*gate_, *up_, *down_, rule_.used, build.attrs.where());
    streamed_ = layer.has_value();
    if (streamed_) {
      const auto& low = build.weights.low_layers();
      waves_ = ExpertWaves(*layer, gate_->first, up_->first, down_->first,
                           low.empty() ? nullptr : &low[*layer]);
      lookahead_ = Lookahead::of_normed(build, kForLookahead, rule_, *layer + 1);
    }
    const size_t pairs = max_tokens_ * rule_.used;
    ffn_ = GatedFfn({gate_->first, up_->first, down_->first, nullptr, 0, 0}, waves_.low(),
                    parse_activation(build), max_tokens_, pairs);
    place(pairs, d_model);
  }

  size_t shared_scratch() const override { return end_; }
  size_t private_scratch() const override {
    return std::max(GatedFfn::private_scratch(max_tokens_), 3 * rule_.experts * sizeof(float));
  }

  void run(Worker& worker) const override {
    const size_t tokens = worker.step.tokens;
    const float* x = worker.buffer(in_);
    uint8_t* shared = worker.step.shared;
    if (route_plan_.quantised()) route_plan_.fill_shared(worker, x, tokens, shared + route_);
    if (lookahead_) lookahead_.prepare(worker, x, shared + lookahead_memory_);
    ffn_.prepare(worker, x, tokens, shared + ffn_memory_);
    worker.barrier();
    float* logits = at<float>(shared, logits_);
    const Product product{router_,     route_plan_.view(router_->format, x, shared + route_),
                          nullptr,     tokens,
                          logits,      rule_.experts,
                          router_bias_};
    Product products[1 + Lookahead::kProducts] = {product};
    size_t count = 1;
    if (lookahead_) {
      count += lookahead_.products(tokens, shared + lookahead_memory_, products + count);
    }
    run_products(worker, {products, count});
    worker.barrier();
    choose(worker, logits);
    worker.barrier();
    if (worker.thread == 0) {
      group(tokens, shared);
      if (streamed_) demand(worker, shared);
    }
    worker.barrier();
    float* results = at<float>(shared, results_);
    if (streamed_) {
      waves_.run(worker, ffn_, x, groups(shared), results, shared + ffn_memory_,
                 shared + waves_memory_);
      if (worker.step.given_up) return;
    } else {
      ffn_.run(worker, x, groups(shared), results, shared + ffn_memory_);
      worker.barrier();
    }
    combine(worker, results);
  }

 private:
  template <class T>
  static T* at(uint8_t* shared, size_t offset) {
    return reinterpret_cast<T*>(shared + offset);
  }

  std::span<GatedFfn::Group> groups(uint8_t* shared) const {
    return {at<GatedFfn::Group>(shared, groups_), *at<size_t>(shared, group_count_)};
  }

  void place(size_t pairs, size_t d_model) {
    const auto take = [this](size_t bytes) {
      const size_t offset = end_;
      end_ += round_up(bytes, 64);
      return offset;
    };
    route_ = take(route_plan_.bytes());
    ffn_memory_ = take(ffn_.shared_scratch());
    logits_ = take(max_tokens_ * rule_.experts * sizeof(float));
    chosen_ = take(pairs * sizeof(int32_t));
    weights_ = take(pairs * sizeof(float));
    pair_of_ = take(pairs * sizeof(int32_t));
    token_of_ = take(pairs * sizeof(int32_t));
    starts_ = take((rule_.experts + 1) * sizeof(size_t));
    groups_ = take(rule_.experts * sizeof(GatedFfn::Group));
    group_count_ = take(sizeof(size_t));
    results_ = take(pairs * d_model * sizeof(float));
    if (!streamed_) return;
    waves_memory_ = take(waves_.shared_scratch());
    lookahead_memory_ = take(lookahead_.shared_scratch());
  }

  void choose(Worker& worker, const float* logits) const {
    uint8_t* shared = worker.step.shared;
    float* work = reinterpret_cast<float*>(worker.scratch());
    const float* bonus = nearness(worker, work + 2 * rule_.experts);
    const Range r = worker.share(worker.step.tokens);
    for (size_t t = r.begin; t < r.end; ++t) {
      route(worker.kernels(), rule_, logits + t * rule_.experts, bias_, bonus, work,
            at<int32_t>(shared, chosen_) + t * rule_.used,
            at<float>(shared, weights_) + t * rule_.used);
    }
    if (lookahead_) lookahead_.choose(worker, work, shared + lookahead_memory_);
  }

  // The bonus of experts in memory, where routing may prefer them; nullptr where it may not.
  const float* nearness(Worker& worker, float* bonus) const {
    const float margin = streamed_ ? worker.step.experts->options().route_margin : 0.0f;
    if (margin == 0) return nullptr;
    for (size_t e = 0; e < rule_.experts; ++e) {
      bonus[e] = worker.step.experts->resident(waves_.layer(), e) ? margin : 0.0f;
    }
    return bonus;
  }

  void demand(Worker& worker, uint8_t* shared) const {
    waves_.demand(worker, groups(shared), shared + waves_memory_);
    worker.step.guard([&] {
      experts::Store& store = *worker.step.experts;
      const size_t tokens = worker.step.tokens;
      store.learn(waves_.layer(), {at<int32_t>(shared, chosen_), tokens * rule_.used});
      store.drift().learn(waves_.layer(), {at<float>(shared, logits_), tokens * rule_.experts});
    });
    if (experts::States* states = worker.step.states) {
      worker.step.guard([&] {
        states->add(waves_.layer(), experts::StateKind::Logits, at<float>(shared, logits_),
                    rule_.experts);
      });
    }
    if (!lookahead_) return;
    worker.step.guard([&] { lookahead_.tell(worker, shared + lookahead_memory_); });
  }

  // Counting sort of (token, choice) by expert; token order within an expert.
  void group(size_t tokens, uint8_t* shared) const {
    const int32_t* chosen = at<int32_t>(shared, chosen_);
    int32_t* pair_of = at<int32_t>(shared, pair_of_);
    int32_t* token_of = at<int32_t>(shared, token_of_);
    size_t* start = at<size_t>(shared, starts_);
    const size_t pairs = tokens * rule_.used;
    std::fill_n(start, rule_.experts + 1, size_t{0});
    for (size_t i = 0; i < pairs; ++i) ++start[chosen[i] + 1];
    size_t count = 0;
    auto* groups = at<GatedFfn::Group>(shared, groups_);
    for (size_t e = 0; e < rule_.experts; ++e) {
      if (start[e + 1] > 0) {
        new (&groups[count++]) GatedFfn::Group{gate_->at(e),
                                               up_->at(e),
                                               down_->at(e),
                                               token_of + start[e],
                                               start[e + 1],
                                               start[e],
                                               static_cast<uint32_t>(e),
                                               bias_of(gate_bias_, e, gate_->first.rows),
                                               bias_of(up_bias_, e, gate_->first.rows),
                                               bias_of(down_bias_, e, ffn_.d_model())};
      }
      start[e + 1] += start[e];
    }
    *at<size_t>(shared, group_count_) = count;
    for (size_t i = 0; i < pairs; ++i) {
      const size_t pair = start[chosen[i]]++;
      pair_of[i] = static_cast<int32_t>(pair);
      token_of[pair] = static_cast<int32_t>(i / rule_.used);
    }
  }

  static const float* bias_of(const float* all, size_t expert, size_t rows) {
    return all ? all + expert * rows : nullptr;
  }

  void combine(Worker& worker, const float* results) const {
    uint8_t* shared = worker.step.shared;
    const int32_t* pair_of = at<int32_t>(shared, pair_of_);
    const float* weights = at<float>(shared, weights_);
    const size_t d = ffn_.d_model();
    const Range r = worker.share(worker.step.tokens);
    for (size_t t = r.begin; t < r.end; ++t) {
      float* y = worker.buffer(out_) + t * d;
      for (size_t k = 0; k < rule_.used; ++k) {
        const size_t i = t * rule_.used + k;
        const float* from = results + pair_of[i] * d;
        if (k == 0) {
          worker.kernels().scale(from, weights[i], y, d);
        } else {
          worker.kernels().axpy(from, weights[i], y, d);
        }
      }
    }
  }

  size_t max_tokens_;
  int in_, out_;
  RouterRule rule_;
  const PackedMatrix* router_;
  const float *bias_, *router_bias_;                // in the choice alone, in the logits
  const float *gate_bias_, *up_bias_, *down_bias_;  // of each expert
  const PackedExperts *gate_, *up_, *down_;
  ActivationPlan route_plan_;
  GatedFfn ffn_;
  bool streamed_ = false;  // experts are read as they are needed
  ExpertWaves waves_;
  Lookahead lookahead_;
  // Offsets in the shared scratch.
  size_t route_ = 0, ffn_memory_ = 0, logits_ = 0, chosen_ = 0, weights_ = 0, pair_of_ = 0,
         token_of_ = 0, starts_ = 0, groups_ = 0, group_count_ = 0, results_ = 0, waves_memory_ = 0,
         lookahead_memory_ = 0, end_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_moe(BuildContext& build) {
  return std::make_unique<Moe>(build);
}

}  // namespace zs::graph
