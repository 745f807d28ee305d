// cap * tanh(x / cap) (Gemma 2, 2024).
#include "graph/op.h"

namespace zs::graph {
namespace {

class Softcap final : public Op {
 public:
  explicit Softcap(BuildContext& build) {
    build.arity(1, 1, 0, 0);
    in_ = build.input(0);
    out_ = build.output(0);
    width_ = build.output_width(0);
    build.expect_width(build.input_width(0), width_, "the input");
    cap_ = build.attrs.real("cap");
    if (!(cap_ > 0)) build.attrs.fail("cap must be positive");
  }

  void run(Worker& worker) const override {
    const Range r = worker.share(worker.step.tokens);
    const size_t at = r.begin * width_;
    worker.kernels().softcap(worker.buffer(in_) + at, cap_, worker.buffer(out_) + at,
                             (r.end - r.begin) * width_);
  }

 private:
  int in_, out_;
  size_t width_;
  float cap_;
};

}  // namespace

std::unique_ptr<Op> make_softcap(BuildContext& build) {
  return std::make_unique<Softcap>(build);
}

}  // namespace zs::graph
