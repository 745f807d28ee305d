// Which experts a layer will want, guessed before the layers in between have run: its norm and
// router applied to the hidden state as it is now (Eliseev and Mazur, 2023).
#pragma once

#include <vector>

#include "experts/options.h"
#include "graph/op.h"
#include "graph/product.h"
#include "graph/router.h"
#include "graph/trained_guess.h"

namespace zs::graph {

class Lookahead {
 public:
  // How much lies between the guess and the demand.
  using Stage = experts::Guess;

  Lookahead() = default;
  // The operator's input is the residual stream: weights from `first` on are the layer's norm,
  // router, selection bias and router's bias.
  static Lookahead of_stream(BuildContext& build, size_t first, const RouterRule& rule, float eps,
                             size_t layer);
  // The operator's input is normed already: weights from `first` on are that norm, then what
  // of_stream takes. Without them it guesses nothing.
  static Lookahead of_normed(BuildContext& build, size_t first, const RouterRule& rule,
                             size_t layer);
  static constexpr size_t kWeights = 5;

  explicit operator bool() const { return router_ != nullptr; }
  // Bytes of `memory`.
  size_t shared_scratch() const { return end_; }

  // It runs beside the operator's own routing: before its product, all threads; x is the
  // operator's input.
  void prepare(Worker& worker, const float* x, uint8_t* memory) const;
  // To be run with the operator's; writes up to kProducts, returns how many.
  size_t products(size_t tokens, uint8_t* memory, Product* out) const;
  static constexpr size_t kProducts = 2;
  // All threads, once the products are there. `work` holds 2 * experts floats.
  void choose(Worker& worker, float* work, uint8_t* memory) const;
  // Thread 0, once all have chosen: tells the store, and keeps what the guess was made of.
  void tell(Worker& worker, uint8_t* memory) const;

 private:
  void read(BuildContext& build, size_t router, const RouterRule& rule, size_t layer);

  const PackedMatrix* router_ = nullptr;                  // nullptr: nothing to guess with
  const float *bias_ = nullptr, *router_bias_ = nullptr;  // in the choice alone, in the logits
  Correction correction_;                                 // none unless it was trained
  std::vector<float> scale_;  // the norm's weights, over those of the norm that x has had
  float eps_ = 0;             // of the norm; 0: x is normed
  Stage stage_ = Stage::Early;
  RouterRule rule_;
  size_t layer_ = 0;
  ActivationPlan plan_;
  size_t scaled_ = 0, quantised_ = 0, logits_ = 0, expected_ = 0, chosen_ = 0, weights_ = 0,
         votes_ = 0, order_ = 0, corrected_ = 0, end_ = 0;  // offsets
};

}  // namespace zs::graph
