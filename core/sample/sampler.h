// Choosing a token from logits. The chain is llama.cpp's default: logit bias, penalties, top-k,
// typical, top-p, min-p, temperature, draw; at temperature 0 the most likely token after bias and
// penalties. The same settings, seed, logits and history give the same tokens on every machine.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "sample/filters.h"
#include "sample/logprobs.h"
#include "sample/penalties.h"
#include "sample/random.h"

namespace zs::sample {

struct Settings {
  int32_t vocab = 0;
  double temperature = 1;  // 0: greedy
  int32_t top_k = 0;       // 0: off
  double top_p = 1;
  double min_p = 0;
  double typical_p = 1;
  PenaltySettings penalties;
  std::vector<std::pair<int32_t, double>> logit_bias;  // -inf bans a token
  uint64_t seed = 0;
};

class Sampler {
 public:
  // Throws InvalidRequest for a value out of its range.
  explicit Sampler(const Settings& settings);

  // Adds a token, of the prompt or generated, to the history of the penalties.
  void accept(int32_t token);
  // Throws InvalidRequest for a wrong length or when no token is left, ModelFormat for NaN or
  // +inf. Draws one random number unless greedy; does not call accept.
  int32_t sample(std::span<const float> logits);
  // Back to the seed and an empty history.
  void reset();

  // sample::logprobs of raw logits, whose length is checked as in sample().
  std::vector<TokenLogprob> logprobs(std::span<const float> logits, int32_t top_n,
                                     std::span<const int32_t> tokens) const;

 private:
  void check_length(std::span<const float> logits) const;
  int32_t draw();

  Settings settings_;
  Penalties penalties_;
  Random random_;
  std::vector<float> logits_;  // [vocab] after bias and penalties
  Candidates candidates_;
  std::vector<double> weights_;  // of the candidates, for the draw
};

}  // namespace zs::sample
