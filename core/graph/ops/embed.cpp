// Token ids to rows of the embedding matrix, decoded where they lie in the file.
#include "graph/op.h"

namespace zs::graph {
namespace {

class Embed final : public Op {
 public:
  explicit Embed(BuildContext& build) {
    build.arity(0, 1, 1, 1);
    out_ = build.output(0);
    rows_ = build.weights.raw_rows(build.weight(0), build.attrs.where(), build.output_width(0));
    build.embeddings = rows_.rows;
    scale_ = build.attrs.real("scale", 1.0f);
  }

  void run(Worker& worker) const override {
    const Range r = worker.share(worker.step.tokens);
    for (size_t t = r.begin; t < r.end; ++t) {
      float* out = worker.buffer(out_) + t * rows_.columns;
      const size_t row = static_cast<size_t>(worker.step.ids[t]);
      rows_.traits->decode(rows_.data + row * rows_.row_bytes, out,
                           rows_.columns / rows_.traits->block_values);
      if (scale_ != 1.0f) worker.kernels().scale(out, scale_, out, rows_.columns);
    }
  }

 private:
  int out_;
  RawRows rows_;
  float scale_;
};

}  // namespace

std::unique_ptr<Op> make_embed(BuildContext& build) {
  return std::make_unique<Embed>(build);
}

}  // namespace zs::graph
