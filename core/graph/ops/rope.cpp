// Rotary position embedding (Su et al., 2021) of every head, from the step's table. "neox" turns
// pairs half the rotated width apart, "normal" turns neighbours.
#include "graph/op.h"

namespace zs::graph {
namespace {

class Rope final : public Op {
 public:
  explicit Rope(BuildContext& build) {
    build.arity(2, 1, 0, 0);
    in_ = build.input(0);
    table_ = build.input(1);
    out_ = build.output(0);
    width_ = build.input_width(0);
    const int64_t head_dim = build.attrs.integer("head_dim", 1, static_cast<int64_t>(width_));
    head_dim_ = head_dim;
    n_rot_ = build.attrs.integer("n_rot", 1, head_dim, head_dim);
    const std::string mode = build.attrs.text("mode", "neox");
    if (mode != "neox" && mode != "normal") build.attrs.fail("mode must be neox or normal");
    neox_ = mode == "neox";
    build.expect_width(build.output_width(0), width_, "the output");
    build.expect_width(build.input_width(1), n_rot_, "the table");
    if (width_ % head_dim_ != 0 || n_rot_ % 2 != 0) {
      build.attrs.fail("head_dim must divide the width, and n_rot be even");
    }
  }

  void run(Worker& worker) const override {
    const size_t heads = width_ / head_dim_;
    const Range r = worker.share(worker.step.tokens * heads);
    const auto& k = worker.kernels();
    const auto rotate = neox_ ? k.rope_neox : k.rope_normal;
    for (size_t i = r.begin; i < r.end; ++i) {
      rotate(worker.buffer(in_) + i * head_dim_, worker.buffer(table_) + i / heads * n_rot_,
             worker.buffer(out_) + i * head_dim_, head_dim_, n_rot_);
    }
  }

 private:
  int in_, table_, out_;
  size_t width_, head_dim_, n_rot_;
  bool neox_;
};

}  // namespace

std::unique_ptr<Op> make_rope(BuildContext& build) {
  return std::make_unique<Rope>(build);
}

}  // namespace zs::graph
