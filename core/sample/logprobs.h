// Natural logarithms of the model's own distribution: temperature 1, nothing filtered.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace zs::sample {

struct TokenLogprob {
  int32_t token;
  double logprob;
};

// Throws ModelFormat if a logit is NaN or +inf, or all are -inf.
void check_logits(std::span<const float> logits);

// The top_n most likely tokens, then those of `tokens` in their order. Throws as check_logits,
// and InvalidRequest for a token outside the vocabulary.
std::vector<TokenLogprob> logprobs(std::span<const float> logits, int32_t top_n,
                                   std::span<const int32_t> tokens);

}  // namespace zs::sample
