// Which tokens may be drawn: each filter removes candidates and never the most likely one but
// for `keep_typical`. Probabilities are those at temperature 1, as in llama.cpp's default chain,
// where the temperature comes last.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace zs::sample {

struct Candidate {
  float logit;  // finite
  int32_t token;
};
using Candidates = std::vector<Candidate>;

// Falling logit, then rising id: a total order, so that results do not depend on the sort.
inline bool more_likely(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

// All tokens whose logit is not -inf, by id; with 0 < k < vocabulary only the k most likely, in
// order of likelihood. `logits` has no NaN and no +inf.
void take_top_k(std::span<const float> logits, int32_t k, Candidates& out);

// Locally typical sampling (Meister et al., arXiv:2202.00666): the tokens whose information
// content is nearest to the entropy, until their probability exceeds p. 1 keeps all.
void keep_typical(Candidates& candidates, double p);

// Nucleus sampling (Holtzman et al., arXiv:1904.09751): the most likely tokens, until their
// probability reaches p. 1 keeps all.
void keep_top_p(Candidates& candidates, double p);

// Min-p sampling (Nguyen et al., arXiv:2407.01082): tokens at least p times as likely as the most
// likely one. 0 keeps all.
void keep_min_p(Candidates& candidates, double p);

float highest_logit(const Candidates& candidates);

}  // namespace zs::sample
