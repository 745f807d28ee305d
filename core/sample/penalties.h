// Penalties on tokens that were seen before, as llama.cpp defines them.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>

namespace zs::sample {

struct PenaltySettings {
  double repetition = 1;  // > 0; divides a positive logit, multiplies another; 1 is off
                          // (CTRL, arXiv:1909.05858, with llama.cpp's treatment of the sign)
  double presence = 0;    // subtracted once
  double frequency = 0;   // subtracted per occurrence
  int32_t last_n = 64;    // tokens looked back at; 0: none, -1: all
};

class Penalties {
 public:
  explicit Penalties(const PenaltySettings& settings);

  void accept(int32_t token);
  void reset();
  // Throws InvalidRequest if a logit overflows.
  void apply(std::span<float> logits) const;

 private:
  bool active() const;

  PenaltySettings settings_;
  std::deque<int32_t> window_;  // the last_n last tokens, oldest first; empty for -1
  std::unordered_map<int32_t, int64_t> counts_;  // of the tokens in the window
};

}  // namespace zs::sample
