// By how much routers differ from what was guessed of them. What lies between a guess and its
// router adds much the same to every token's state, so to the guess's logits a constant is missing
// for each expert; it is learnt from the tokens as they run. Belongs to the thread that tells the
// store what layers need; others read it behind a barrier.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "experts/layout.h"
#include "experts/options.h"

namespace zs::experts {

class Drift {
 public:
  explicit Drift(const std::vector<Layer>& layers);

  // To be added to the guess's logits, one for each expert of the layer.
  const float* of(size_t layer, Guess guess) const {
    return values_.data() + place(layer, guess).begin;
  }
  // Logits guessed for the step's tokens, with of() added: [tokens, experts].
  void guessed(size_t layer, Guess guess, std::span<const float> logits);
  // What the layer's router then said of the same tokens: [tokens, experts].
  void learn(size_t layer, std::span<const float> logits);

 private:
  // Of one guess for one layer.
  struct Place {
    size_t begin = 0;     // in values_ and sums_
    size_t tokens = 0;    // in the sums; 0: nothing was guessed since the router spoke
    uint64_t learnt = 0;  // steps
  };
  const Place& place(size_t layer, Guess guess) const {
    return places_[layer][static_cast<size_t>(guess)];
  }

  std::vector<size_t> experts_;
  std::vector<std::array<Place, kGuesses>> places_;
  std::vector<float> values_, sums_, said_;
};

}  // namespace zs::experts
