// What training adds to a guess of experts: a map of low rank from the state that the guess is
// made of to a correction of its router logits.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "experts/options.h"
#include "graph/op.h"
#include "graph/product.h"

namespace zs::graph {

// logits += b (a x) + bias, for the guess of one layer at one stage.
struct TrainedGuess {
  size_t layer = 0;  // whose experts are guessed; streamed layers count
  experts::Guess stage = experts::Guess::Early;
  size_t rank = 0, width = 0, experts = 0;
  std::vector<float> a;     // [rank, width]
  std::vector<float> b;     // [experts, rank]
  std::vector<float> bias;  // [experts]
};

using TrainedGuesses = std::vector<TrainedGuess>;

class Correction {
 public:
  Correction() = default;
  // Throws InvalidRequest where `trained` has other sizes. `where` names the operator.
  Correction(const TrainedGuess& trained, size_t width, size_t experts, size_t max_tokens,
             const std::string& where);

  explicit operator bool() const { return matrix_.data != nullptr; }
  // Bytes of `memory`.
  size_t shared_scratch() const { return bytes_; }

  // a x, of the float rows x, to be run with other products.
  Product product(const float* x, size_t tokens, uint8_t* memory) const;
  // Once the product is there: corrects the logits of one token.
  void apply(Worker& worker, size_t token, const uint8_t* memory, float* logits) const;

 private:
  AlignedBuffer panels_;  // of a
  PackedMatrix matrix_;
  std::vector<float> columns_;  // of b: [rank, experts]
  std::vector<float> bias_;
  size_t bytes_ = 0;
};

}  // namespace zs::graph
