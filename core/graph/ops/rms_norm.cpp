// y = x / sqrt(mean(x^2) + eps) * w over each consecutive group of values (Zhang and Sennrich,
// 2019). The group is the whole row, or a head for query and key norms.
#include "graph/op.h"

namespace zs::graph {
namespace {

class RmsNorm final : public Op {
 public:
  explicit RmsNorm(BuildContext& build) {
    build.arity(1, 1, 1, 1);
    in_ = build.input(0);
    out_ = build.output(0);
    width_ = build.input_width(0);
    build.expect_width(build.output_width(0), width_, "the output");
    const auto width = static_cast<int64_t>(width_);
    group_ = build.attrs.integer("group", 1, width, width);
    if (width_ % group_ != 0) build.attrs.fail("group must divide the width");
    eps_ = build.attrs.real("eps");
    weight_ = build.vector(0, group_);
  }

  void run(Worker& worker) const override {
    const Range r = worker.share(worker.step.tokens * (width_ / group_));
    const float* in = worker.buffer(in_);
    float* out = worker.buffer(out_);
    for (size_t i = r.begin; i < r.end; ++i) {
      worker.kernels().rms_norm(in + i * group_, weight_, out + i * group_, group_, eps_);
    }
  }

 private:
  int in_, out_;
  size_t width_, group_;
  float eps_;
  const float* weight_;
};

}  // namespace

std::unique_ptr<Op> make_rms_norm(BuildContext& build) {
  return std::make_unique<RmsNorm>(build);
}

}  // namespace zs::graph
