// y_i = x W_i^T + b_i for one or more weights over one input: the input is quantised once and
// all panels are one list of work (fused q, k, v).
#include "graph/op.h"
#include "graph/product.h"

namespace zs::graph {
namespace {

class Linear final : public Op {
 public:
  explicit Linear(BuildContext& build) {
    const size_t outputs = build.output_count();
    if (outputs == 0) build.attrs.fail("needs at least one output");
    build.arity(1, outputs, 2 * outputs, 2 * outputs);
    in_ = build.input(0);
    const size_t columns = build.input_width(0);
    plan_ = ActivationPlan(columns, build.max_tokens);
    for (size_t i = 0; i < outputs; ++i) {
      const size_t rows = build.output_width(i);
      outs_.push_back(
          {build.output(i), &build.matrix(2 * i, rows, columns), build.vector(2 * i + 1, rows)});
      plan_.need(outs_.back().weight->format);
    }
    scratch_ = kernels::matmul_scratch_bytes(build.max_tokens);
  }

  size_t shared_scratch() const override { return plan_.bytes(); }
  size_t private_scratch() const override { return scratch_; }

  void run(Worker& worker) const override {
    const size_t tokens = worker.step.tokens;
    const float* x = worker.buffer(in_);
    uint8_t* memory = worker.step.shared;
    if (plan_.quantised()) {
      plan_.fill_shared(worker, x, tokens, memory);
      worker.barrier();
    }
    Product products[kMaxOutputs];
    for (size_t i = 0; i < outs_.size(); ++i) {
      const Out& out = outs_[i];
      products[i] = {out.weight,
                     plan_.view(out.weight->format, x, memory),
                     nullptr,
                     tokens,
                     worker.buffer(out.buffer),
                     out.weight->rows,
                     out.bias};
    }
    run_products(worker, {products, outs_.size()});
  }

  static constexpr size_t kMaxOutputs = 8;

 private:
  struct Out {
    int buffer;
    const PackedMatrix* weight;
    const float* bias;
  };
  int in_;
  ActivationPlan plan_;
  std::vector<Out> outs_;
  size_t scratch_;
};

}  // namespace

std::unique_ptr<Op> make_linear(BuildContext& build) {
  if (build.output_count() > Linear::kMaxOutputs) build.attrs.fail("has more than 8 outputs");
  return std::make_unique<Linear>(build);
}

}  // namespace zs::graph
