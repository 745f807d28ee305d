// Token ids to rows of the embedding matrix, which stays in the file.
#include "base/error.h"
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
    std::atomic<uint32_t>& failed = worker.counter();
    try {
      embed(worker, worker.share(worker.step.tokens));
    } catch (const Error&) {
      failed.store(1, std::memory_order_relaxed);
    }
    worker.barrier();
    // What failed thread 0 tries again, which alone may end the step.
    if (worker.thread == 0 && failed.load(std::memory_order_relaxed) != 0) {
      worker.step.guard([&] { embed(worker, {0, worker.step.tokens}); });
    }
  }
  size_t private_scratch() const override { return rows_.row_bytes; }

 private:
  // Throws Storage.
  void embed(Worker& worker, Range tokens) const {
    for (size_t t = tokens.begin; t < tokens.end; ++t) {
      float* out = worker.buffer(out_) + t * rows_.columns;
      rows_.read(static_cast<size_t>(worker.step.ids[t]), worker.scratch());
      rows_.traits->decode(worker.scratch(), out, rows_.columns / rows_.traits->block_values);
      if (scale_ != 1.0f) worker.kernels().scale(out, scale_, out, rows_.columns);
    }
  }

  int out_;
  RawRows rows_;
  float scale_;
};

}  // namespace

std::unique_ptr<Op> make_embed(BuildContext& build) {
  return std::make_unique<Embed>(build);
}

}  // namespace zs::graph
