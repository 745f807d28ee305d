// a + scale * b.
#include "graph/op.h"

namespace zs::graph {
namespace {

class Add final : public Op {
 public:
  explicit Add(BuildContext& build) {
    build.arity(2, 1, 0, 0);
    a_ = build.input(0);
    b_ = build.input(1);
    out_ = build.output(0);
    width_ = build.output_width(0);
    build.expect_width(build.input_width(0), width_, "the first input");
    build.expect_width(build.input_width(1), width_, "the second input");
    scale_ = build.attrs.real("scale", 1.0f);
  }

  void run(Worker& worker) const override {
    const Range r = worker.share(worker.step.tokens);
    const size_t at = r.begin * width_;
    worker.kernels().add(worker.buffer(a_) + at, worker.buffer(b_) + at, worker.buffer(out_) + at,
                         (r.end - r.begin) * width_, scale_);
  }

 private:
  int a_, b_, out_;
  size_t width_;
  float scale_;
};

}  // namespace

std::unique_ptr<Op> make_add(BuildContext& build) {
  return std::make_unique<Add>(build);
}

}  // namespace zs::graph
