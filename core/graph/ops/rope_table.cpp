// cos and sin of position * inverse frequency for every token, once a step for all layers.
// The angle is a float product, as the reference implementations compute it; cos and sin are
// taken in double and rounded once.
#include <cmath>

#include "graph/op.h"

namespace zs::graph {
namespace {

class RopeTable final : public Op {
 public:
  explicit RopeTable(BuildContext& build) {
    build.arity(0, 1, 0, 0);
    out_ = build.output(0);
    inverse_ = build.attrs.reals("inv_freq");
    scale_ = build.attrs.real("scale", 1.0f);
    build.expect_width(build.output_width(0), 2 * inverse_.size(), "the table");
  }

  void run(Worker& worker) const override {
    const Range r = worker.share(worker.step.tokens);
    for (size_t t = r.begin; t < r.end; ++t) {
      float* out = worker.buffer(out_) + t * 2 * inverse_.size();
      const float position = static_cast<float>(worker.step.positions[t]);
      for (size_t i = 0; i < inverse_.size(); ++i) {
        const double angle = position * inverse_[i];
        out[2 * i] = static_cast<float>(std::cos(angle)) * scale_;
        out[2 * i + 1] = static_cast<float>(std::sin(angle)) * scale_;
      }
    }
  }

 private:
  int out_;
  std::vector<float> inverse_;
  float scale_;
};

}  // namespace

std::unique_ptr<Op> make_rope_table(BuildContext& build) {
  return std::make_unique<RopeTable>(build);
}

}  // namespace zs::graph
