// A dense feed-forward network, gated (SwiGLU, GeGLU: Shazeer, 2020) or plain.
#include "graph/gated_ffn.h"

namespace zs::graph {
namespace {

class Ffn final : public Op {
 public:
  explicit Ffn(BuildContext& build) {
    build.arity(1, 1, 3, 3);
    in_ = build.input(0);
    out_ = build.output(0);
    const size_t d_model = build.input_width(0);
    up_ = &build.matrix(1, 0, d_model);
    if (build.has_weight(0)) gate_ = &build.matrix(0, up_->rows, d_model);
    down_ = &build.matrix(2, build.output_width(0), up_->rows);
    GatedFfn::Group shape;
    if (gate_) shape.gate = *gate_;
    shape.up = *up_;
    shape.down = *down_;
    ffn_ = GatedFfn(shape, nullptr, parse_activation(build), build.max_tokens, build.max_tokens);
    private_ = GatedFfn::private_scratch(build.max_tokens);
  }

  size_t shared_scratch() const override { return ffn_.shared_scratch(); }
  size_t private_scratch() const override { return private_; }

  void run(Worker& worker) const override {
    GatedFfn::Group group;
    if (gate_) group.gate = *gate_;
    group.up = *up_;
    group.down = *down_;
    group.tokens = worker.step.tokens;
    const float* x = worker.buffer(in_);
    ffn_.prepare(worker, x, worker.step.tokens, worker.step.shared);
    worker.barrier();
    ffn_.run(worker, x, {&group, 1}, worker.buffer(out_), worker.step.shared);
  }

 private:
  int in_, out_;
  const PackedMatrix* gate_ = nullptr;
  const PackedMatrix* up_;
  const PackedMatrix* down_;
  GatedFfn ffn_;
  size_t private_;
};

}  // namespace

std::unique_ptr<Op> make_ffn(BuildContext& build) {
  return std::make_unique<Ffn>(build);
}

}  // namespace zs::graph
