// y * sigmoid(g): one gate a token (shared experts) or one a value.
#include "graph/op.h"

namespace zs::graph {
namespace {

class SigmoidGate final : public Op {
 public:
  explicit SigmoidGate(BuildContext& build) {
    build.arity(2, 1, 0, 0);
    in_ = build.input(0);
    gate_ = build.input(1);
    out_ = build.output(0);
    width_ = build.output_width(0);
    gate_width_ = build.input_width(1);
    build.expect_width(build.input_width(0), width_, "the input");
    if (gate_width_ != 1) build.expect_width(gate_width_, width_, "the gate");
  }

  size_t private_scratch() const override { return gate_width_ * sizeof(float); }

  void run(Worker& worker) const override {
    const Range r = worker.share(worker.step.tokens);
    float* open = reinterpret_cast<float*>(worker.scratch());
    for (size_t t = r.begin; t < r.end; ++t) {
      const float* x = worker.buffer(in_) + t * width_;
      float* y = worker.buffer(out_) + t * width_;
      worker.kernels().sigmoid(worker.buffer(gate_) + t * gate_width_, open, gate_width_);
      if (gate_width_ == 1) {
        worker.kernels().scale(x, open[0], y, width_);
      } else {
        for (size_t i = 0; i < width_; ++i) y[i] = x[i] * open[i];
      }
    }
  }

 private:
  int in_, gate_, out_;
  size_t width_, gate_width_;
};

}  // namespace

std::unique_ptr<Op> make_sigmoid_gate(BuildContext& build) {
  return std::make_unique<SigmoidGate>(build);
}

}  // namespace zs::graph
