// Names the experts that the layer which begins will want, as far as its input tells before its
// attention has run, so that they are read meanwhile. Does nothing where all experts are in memory.
#include "experts/store.h"
#include "graph/lookahead.h"
#include "graph/router.h"

namespace zs::graph {
namespace {

class Foresee final : public Op {
 public:
  explicit Foresee(BuildContext& build) {
    build.arity(1, 0, 2, 4);
    in_ = build.input(0);
    const RouterRule rule = read_router_rule(build);
    const float eps = build.attrs.real("eps");
    if (!build.weights.streaming()) return;
    // The layer is the next one to be declared.
    lookahead_ = Lookahead::of_stream(build, 0, rule, eps, build.weights.expert_layers().size());
    private_ = 2 * rule.experts * sizeof(float);
  }

  bool idle() const override { return !lookahead_; }
  size_t shared_scratch() const override { return lookahead_.shared_scratch(); }
  size_t private_scratch() const override { return private_; }

  void run(Worker& worker) const override {
    uint8_t* memory = worker.step.shared;
    lookahead_.prepare(worker, worker.buffer(in_), memory);
    worker.barrier();
    Product products[Lookahead::kProducts];
    run_products(worker, {products, lookahead_.products(worker.step.tokens, memory, products)});
    worker.barrier();
    lookahead_.choose(worker, reinterpret_cast<float*>(worker.scratch()), memory);
    worker.barrier();
    if (worker.thread != 0) return;
    worker.step.guard([&] {
      lookahead_.tell(worker, memory);
      worker.step.experts->start_predicted();
    });
  }

 private:
  int in_;
  Lookahead lookahead_;
  size_t private_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_foresee(BuildContext& build) {
  return std::make_unique<Foresee>(build);
}

}  // namespace zs::graph
