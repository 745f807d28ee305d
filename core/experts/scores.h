// How much each expert deserves its place in memory, by how recently and how often it was wanted.
#pragma once

#include <cstdint>
#include <vector>

#include "experts/layout.h"
#include "experts/options.h"

namespace zs::experts {

// LRFU (Lee et al., 2001): a demand is worth 1 when it happens and halves every half_life steps;
// an expert's score is the sum over its demands. LRU and LFU are its limits.
class Scores {
 public:
  Scores(size_t experts, Policy policy, double half_life);

  void next_step() { ++now_; }
  // A layer wants the expert for `tokens` tokens of a step.
  void demand(ExpertId id, size_t tokens);
  // Grows with the score. Constant between demands, because a score is kept as its logarithm plus
  // the decay since the start: comparing two keys compares the scores at any later time.
  float key(ExpertId id) const { return keys_[id]; }
  // For a profile that outlives the process: as key(), from 0 for "never" to 1 for the highest.
  std::vector<float> save() const;
  void restore(const std::vector<float>& saved);

  static constexpr float kNever = -1e30f;

 private:
  Policy policy_;
  double half_life_;
  uint64_t now_ = 0;
  std::vector<float> keys_;
};

}  // namespace zs::experts
