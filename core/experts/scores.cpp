// Scores as logarithms, so that nothing decays by being touched.
#include "experts/scores.h"

#include <algorithm>
#include <cmath>

namespace zs::experts {

Scores::Scores(size_t experts, Policy policy, double half_life)
    : policy_(policy), half_life_(half_life), keys_(experts, kNever) {}

void Scores::demand(ExpertId id, size_t tokens) {
  float& key = keys_[id];
  const bool first = key <= kNever;
  if (policy_ == Policy::Lru) {
    key = static_cast<float>(now_);
  } else if (policy_ == Policy::Lfu) {
    key = (first ? 0.0f : key) + static_cast<float>(tokens);
  } else {
    // In a long prompt nearly every expert is wanted; how often still tells them apart, but must
    // not outweigh all that comes after it.
    const double worth = std::log2(1.0 + static_cast<double>(tokens));
    const double decay = static_cast<double>(now_) / half_life_;
    const double old = first ? 0.0 : std::exp2(static_cast<double>(key) - decay);
    key = static_cast<float>(std::log2(old + worth) + decay);
  }
}

std::vector<float> Scores::save() const {
  float least = 0, most = 0;
  bool any = false;
  for (const float key : keys_) {
    if (key <= kNever) continue;
    least = any ? std::min(least, key) : key;
    most = any ? std::max(most, key) : key;
    any = true;
  }
  std::vector<float> saved(keys_.size(), 0.0f);
  const float width = most > least ? most - least : 1.0f;
  for (size_t i = 0; i < keys_.size(); ++i) {
    // Half of the scale is for "least of those wanted", so that never stays apart.
    if (keys_[i] > kNever) saved[i] = 0.5f + 0.5f * (keys_[i] - least) / width;
  }
  return saved;
}

void Scores::restore(const std::vector<float>& saved) {
  for (size_t i = 0; i < keys_.size() && i < saved.size(); ++i) {
    // At most one demand's worth: what happens now counts for more than what was.
    if (saved[i] > 0) keys_[i] = saved[i] - 1.0f;
  }
}

}  // namespace zs::experts
