// The output head for the rows that were asked for, and no others.
#include <cstring>

#include "graph/op.h"
#include "graph/product.h"

namespace zs::graph {
namespace {

class Logits final : public Op {
 public:
  explicit Logits(BuildContext& build) {
    build.arity(1, 0, 2, 2);
    in_ = build.input(0);
    width_ = build.input_width(0);
    weight_ = &build.matrix(0, 0, width_);
    bias_ = build.vector(1, weight_->rows);
    scale_ = build.attrs.real("scale", 1.0f);
    cap_ = build.attrs.real("softcap", 0.0f);
    build.vocab = weight_->rows;
    rows_bytes_ = round_up(build.max_rows * width_ * sizeof(float), 64);
    plan_ = ActivationPlan(width_, build.max_rows);
    plan_.need(weight_->format);
    scratch_ = kernels::matmul_scratch_bytes(build.max_rows);
  }

  size_t shared_scratch() const override { return rows_bytes_ + plan_.bytes(); }
  size_t private_scratch() const override { return scratch_; }

  void run(Worker& worker) const override {
    const Step& step = worker.step;
    float* x = reinterpret_cast<float*>(step.shared);
    uint8_t* memory = step.shared + rows_bytes_;
    const Range r = worker.share(step.row_count);
    for (size_t i = r.begin; i < r.end; ++i) {
      std::memcpy(x + i * width_, worker.buffer(in_) + step.rows[i] * width_,
                  width_ * sizeof(float));
    }
    plan_.fill(worker.kernels(), x, r.begin, r.end, memory);
    worker.barrier();
    const Product product{weight_,     plan_.view(weight_->format, x, memory),
                          nullptr,     step.row_count,
                          step.logits, weight_->rows,
                          bias_};
    run_products(worker, {&product, 1});
    if (scale_ == 1.0f && cap_ == 0.0f) return;
    worker.barrier();
    const size_t n = step.row_count * weight_->rows;
    const Range part = worker.share(n);
    float* out = step.logits + part.begin;
    const size_t count = part.end - part.begin;
    if (scale_ != 1.0f) worker.kernels().scale(out, scale_, out, count);
    if (cap_ != 0.0f) worker.kernels().softcap(out, cap_, out, count);
  }

 private:
  int in_;
  size_t width_, rows_bytes_, scratch_;
  const PackedMatrix* weight_;
  const float* bias_;
  float scale_, cap_;
  ActivationPlan plan_;
};

}  // namespace

std::unique_ptr<Op> make_logits(BuildContext& build) {
  return std::make_unique<Logits>(build);
}

}  // namespace zs::graph
