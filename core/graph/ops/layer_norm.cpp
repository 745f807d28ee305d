// y = (x - mean) / sqrt(variance + eps) * w + b over each consecutive group of values (Ba, Kiros
// and Hinton, 2016).
#include "graph/op.h"

namespace zs::graph {
namespace {

class LayerNorm final : public Op {
 public:
  explicit LayerNorm(BuildContext& build) {
    build.arity(1, 1, 2, 2);
    in_ = build.input(0);
    out_ = build.output(0);
    width_ = build.input_width(0);
    build.expect_width(build.output_width(0), width_, "the output");
    const auto width = static_cast<int64_t>(width_);
    group_ = build.attrs.integer("group", 1, width, width);
    if (width_ % group_ != 0) build.attrs.fail("group must divide the width");
    eps_ = build.attrs.real("eps");
    weight_ = build.vector(0, group_);
    bias_ = build.vector(1, group_);
  }

  void run(Worker& worker) const override {
    const Range r = worker.share(worker.step.tokens * (width_ / group_));
    const float* in = worker.buffer(in_);
    float* out = worker.buffer(out_);
    for (size_t i = r.begin; i < r.end; ++i) {
      worker.kernels().layer_norm(in + i * group_, weight_, bias_, out + i * group_, group_, eps_);
    }
  }

 private:
  int in_, out_;
  size_t width_, group_;
  float eps_;
  const float* weight_;
  const float* bias_;
};

}  // namespace

std::unique_ptr<Op> make_layer_norm(BuildContext& build) {
  return std::make_unique<LayerNorm>(build);
}

}  // namespace zs::graph
