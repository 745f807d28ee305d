// The window of last tokens and what it costs them.
#include "sample/penalties.h"

#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"

namespace zs::sample {

Penalties::Penalties(const PenaltySettings& settings) : settings_(settings) {}

bool Penalties::active() const {
  return settings_.last_n != 0 &&
         (settings_.repetition != 1 || settings_.presence != 0 || settings_.frequency != 0);
}

void Penalties::accept(int32_t token) {
  if (!active()) return;
  ++counts_[token];
  if (settings_.last_n < 0) return;
  window_.push_back(token);
  if (window_.size() <= static_cast<size_t>(settings_.last_n)) return;
  const auto oldest = counts_.find(window_.front());
  if (--oldest->second == 0) counts_.erase(oldest);
  window_.pop_front();
}

void Penalties::reset() {
  window_.clear();
  counts_.clear();
}

void Penalties::apply(std::span<float> logits) const {
  for (const auto& [token, count] : counts_) {
    float& logit = logits[static_cast<size_t>(token)];
    double value = logit;
    value = value <= 0 ? value * settings_.repetition : value / settings_.repetition;
    value -= static_cast<double>(count) * settings_.frequency + settings_.presence;
    logit = static_cast<float>(value);
    if (!(logit <= std::numeric_limits<float>::max())) {
      throw Error(ErrorKind::InvalidRequest,
                  "penalties: the logit of token " + std::to_string(token) +
                      " overflows; give a repetition_penalty nearer to 1 and presence_penalty "
                      "and frequency_penalty nearer to 0");
    }
  }
}

}  // namespace zs::sample
