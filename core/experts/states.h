// What guesses of experts were made of, and what the routers then said, kept for training a better
// guess. Belongs to the thread that tells the store what layers need.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "experts/layout.h"

namespace zs::experts {

// Of one layer: the router's logits, and for each guess the state it was made of and the logits it
// came to. Those of early guesses first, as in Guess.
enum class StateKind : uint8_t { EarlyInput, LateInput, EarlyGuess, LateGuess, Logits };
inline constexpr size_t kStateKinds = 5;

struct StateRows {
  size_t width = 0;  // 0: nothing was kept
  std::vector<float> values;
};

using LayerStates = std::array<StateRows, kStateKinds>;

class States {
 public:
  // Keeps rows of as many tokens as fit into `bytes`; those of later tokens are left out.
  States(const std::vector<Layer>& layers, size_t bytes);

  // A step over so many tokens begins: what the last one kept without keep() is gone.
  void begin(size_t tokens);
  // Rows of the step's tokens, one after the other.
  void add(size_t layer, StateKind kind, const float* rows, size_t width);
  // The step ended well.
  void keep() { kept_ += step_; }
  // What was kept since the last call. All of one layer have rows of the same tokens.
  std::vector<LayerStates> take();

 private:
  std::vector<LayerStates> layers_;
  size_t most_ = 0, kept_ = 0, step_ = 0;  // tokens
};

}  // namespace zs::experts
