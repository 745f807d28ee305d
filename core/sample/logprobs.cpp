// Log-softmax of raw logits.
#include "sample/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "sample/exponential.h"
#include "sample/filters.h"

namespace zs::sample {

void check_logits(std::span<const float> logits) {
  constexpr float kMost = std::numeric_limits<float>::max();
  bool usable = true;
  bool some = false;
  for (float logit : logits) {  // no early exit, so that the compiler vectorises it
    usable &= logit <= kMost;
    some |= logit >= -kMost;
  }
  if (usable && some) return;
  const auto bad =
      std::find_if(logits.begin(), logits.end(), [](float logit) { return !(logit <= kMost); });
  const std::string found = bad == logits.end()
                                ? "-inf for every token"
                                : (std::isnan(*bad) ? "NaN" : "inf") + std::string(" for token ") +
                                      std::to_string(bad - logits.begin());
  throw Error(ErrorKind::ModelFormat,
              "logits: found " + found +
                  ", expected finite numbers; the model's weights are damaged: download or "
                  "convert it again");
}

std::vector<TokenLogprob> logprobs(std::span<const float> logits, int32_t top_n,
                                   std::span<const int32_t> tokens) {
  check_logits(logits);
  const double highest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (float logit : logits) total += exponential(logit - highest);
  const double normaliser = highest + std::log(total);

  std::vector<TokenLogprob> out;
  Candidates top;
  if (top_n > 0) {
    take_top_k(logits, top_n, top);
    std::sort(top.begin(), top.end(), more_likely);
  }
  for (const Candidate& c : top) out.push_back({c.token, c.logit - normaliser});
  for (int32_t token : tokens) {
    if (token < 0 || static_cast<size_t>(token) >= logits.size()) {
      throw Error(ErrorKind::InvalidRequest, "token " + std::to_string(token) +
                                                 ": give an id below the vocabulary's " +
                                                 std::to_string(logits.size()));
    }
    out.push_back({token, logits[static_cast<size_t>(token)] - normaliser});
  }
  return out;
}

}  // namespace zs::sample
