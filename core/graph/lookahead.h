// Which experts the next layer will want, guessed before this layer has run: the next layer's norm
// and router applied to the hidden state as it is now (Eliseev and Mazur, 2023).
#pragma once

#include <vector>

#include "graph/op.h"
#include "graph/product.h"
#include "graph/router.h"

namespace zs::graph {

class Lookahead {
 public:
  // Optional weights of the operator: norm of its input, then norm, router and selection bias of
  // the layer that comes next.
  static constexpr size_t kWeights = 4;

  Lookahead() = default;
  // `first`: index of the first of them; without them nothing is guessed. `rule`: of both layers.
  Lookahead(BuildContext& build, size_t first, const RouterRule& rule, size_t next_layer);

  explicit operator bool() const { return router_ != nullptr; }
  // Bytes of `memory`.
  size_t shared_scratch() const { return end_; }

  // It runs beside the operator's own routing: before its product, all threads; x is the
  // operator's input, normed.
  void prepare(Worker& worker, const float* x, uint8_t* memory) const;
  // To be run with the operator's.
  Product product(size_t tokens, uint8_t* memory) const;
  // All threads, once the product is there. `work` holds 2 * experts floats.
  void choose(Worker& worker, float* work, uint8_t* memory) const;
  // Thread 0, once all have chosen: tells the store.
  void tell(Worker& worker, uint8_t* memory) const;

 private:
  const PackedMatrix* router_ = nullptr;  // nullptr: nothing to guess with
  const float* bias_ = nullptr;
  std::vector<float> ratio_;  // next norm's weights over this one's
  RouterRule rule_;
  size_t next_layer_ = 0;
  ActivationPlan plan_;
  size_t scaled_ = 0, quantised_ = 0, logits_ = 0, chosen_ = 0, weights_ = 0, votes_ = 0,
         order_ = 0, end_ = 0;  // offsets
};

}  // namespace zs::graph
