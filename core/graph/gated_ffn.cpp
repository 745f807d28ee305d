// The three phases: gate and up, quantise, down.
#include "graph/gated_ffn.h"

#include <algorithm>

#include "kernels/select.h"

namespace zs::graph {
namespace {

// Splits the panels of all groups among threads, as run_products does; `weight` is one of a group.
// Calls fn(group, panel_begin, panel_end).
template <class Weight, class Fn>
void share_panels(Worker& worker, std::span<const GatedFfn::Group> groups, bool dynamic,
                  Weight&& weight, Fn&& fn) {
  if (groups.empty()) return worker.take(0, 1, [](size_t, size_t) {});
  const PackedMatrix& first_weight = weight(groups[0]);
  const size_t each = first_weight.panels();
  size_t tokens = 0;
  for (const auto& group : groups) tokens += group.tokens;
  if (tokens <= kDecodeTokens * 8 && worker.step.by_node && !dynamic) {
    for (const auto& group : groups) {
      const Range own = worker.share(each);
      if (own.begin < own.end) fn(group, own.begin, own.end);
    }
    return;
  }
  worker.take(each * groups.size(), least_part(first_weight, tokens / groups.size()),
              [&](size_t begin, size_t end) {
                while (begin < end) {
                  const size_t first = begin % each, last = std::min(each, first + end - begin);
                  fn(groups[begin / each], first, last);
                  begin += last - first;
                }
              });
}

}  // namespace

kernels::Activation parse_activation(BuildContext& build) {
  const std::string name = build.attrs.text("act", "silu");
  if (const auto activation = kernels::find_activation(name)) return *activation;
  build.attrs.fail("act is '" + name + "', expected one of " + kernels::activation_names());
}

GatedFfn::GatedFfn(const Group& shape, const Group* other, kernels::Activation act,
                   size_t max_tokens, size_t max_pairs)
    : act_(act),
      d_model_(shape.down.rows),
      d_ff_(shape.down.columns),
      in_(shape.up.columns, max_tokens),
      hidden_(shape.down.columns, max_pairs) {
  for (const Group* group : {&shape, other}) {
    if (!group) continue;
    if (group->gate.rows) in_.need(group->gate.format);
    in_.need(group->up.format);
    hidden_.need(group->down.format);
  }
  hidden_memory_ = round_up(in_.bytes(), 64);
  gate_ = hidden_memory_ + round_up(hidden_.bytes(), 64);
  const size_t floats = round_up(max_pairs * d_ff_ * sizeof(float), 64);
  up_ = gate_ + floats;
  end_ = up_ + (shape.gate.rows ? floats : 0);
}

void GatedFfn::gate_up(Worker& worker, const float* x, std::span<const Group> groups,
                       uint8_t* memory, bool dynamic) const {
  float* gate_all = reinterpret_cast<float*>(memory + gate_);
  float* up_all = reinterpret_cast<float*>(memory + up_);
  share_panels(
      worker, groups, dynamic, [](const Group& g) -> auto& { return g.up; },
      [&](const Group& g, size_t begin, size_t end) {
        const bool gated = g.gate.data != nullptr;
        // Ungated: up goes where gate would, and the activation takes it alone.
        float* gate = gate_all + g.first_pair * d_ff_;
        float* up = gated ? up_all + g.first_pair * d_ff_ : gate;
        Product product{
            &g.up, in_.view(g.up.format, x, memory), g.row_index, g.tokens, up, d_ff_, g.up_bias};
        run_panels(worker.kernels(), product, begin, end, worker.scratch());
        if (gated) {
          product.weight = &g.gate;
          product.activations = in_.view(g.gate.format, x, memory);
          product.out = gate;
          product.bias = g.gate_bias;
          run_panels(worker.kernels(), product, begin, end, worker.scratch());
        }
        const size_t row = begin * quant::kPanelRows;
        const size_t n = std::min(end * quant::kPanelRows, d_ff_) - row;
        for (size_t t = 0; t < g.tokens; ++t) {
          float* hidden = gate + t * d_ff_ + row;
          worker.kernels().activate(act_, hidden, gated ? up + t * d_ff_ + row : nullptr, hidden,
                                    n);
        }
      });
}

// The pairs of a group follow each other; those of its neighbours in the list need not.
void GatedFfn::quantise_hidden(Worker& worker, std::span<const Group> groups,
                               uint8_t* memory) const {
  const float* hidden = reinterpret_cast<const float*>(memory + gate_);
  size_t pairs = 0, base = 0;
  for (const Group& g : groups) pairs += g.tokens;
  const Range own = worker.share(pairs);
  for (const Group& g : groups) {
    const size_t begin = std::max(own.begin, base), end = std::min(own.end, base + g.tokens);
    if (begin < end) {
      hidden_.fill(worker.kernels(), hidden, g.first_pair + begin - base, g.first_pair + end - base,
                   memory + hidden_memory_);
    }
    base += g.tokens;
  }
}

void GatedFfn::run(Worker& worker, const float* x, std::span<const Group> groups, float* out,
                   uint8_t* memory, bool dynamic) const {
  gate_up(worker, x, groups, memory, dynamic);
  worker.barrier();
  const float* hidden = reinterpret_cast<const float*>(memory + gate_);
  if (hidden_.quantised()) {
    quantise_hidden(worker, groups, memory);
    worker.barrier();
  }
  share_panels(
      worker, groups, dynamic, [](const Group& g) -> auto& { return g.down; },
      [&](const Group& g, size_t begin, size_t end) {
        const Product product{
            &g.down,
            hidden_.view(g.down.format, hidden, memory + hidden_memory_, g.first_pair),
            nullptr,
            g.tokens,
            out + g.first_pair * d_model_,
            d_model_,
            g.down_bias};
        run_panels(worker.kernels(), product, begin, end, worker.scratch());
      });
}

}  // namespace zs::graph
