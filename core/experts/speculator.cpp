// Exponential averages of windows, speed and precision.
#include "experts/speculator.h"

#include <algorithm>

namespace zs::experts {
namespace {

constexpr double kNew = 0.2;      // weight of the latest window
constexpr double kForget = 0.98;  // of what a rank's reads came to, at each new one
// Now and then a rank that failed is tried again, in case the text has changed.
constexpr double kRecover = 0.002;
// The best speed counts for half after 350 tokens that do not reach it.
constexpr double kFade = 0.998;

}  // namespace

void Speculator::demand_begins(size_t layer, Clock::time_point now, bool many) {
  for (int guess = 0; guess < 2; ++guess) {
    Open& open = open_[guess];
    if (open.open && open.layer == layer) {
      const double ns = std::chrono::duration<double, std::nano>(now - open.since).count();
      double& window = windows_[layer].ns[many][guess];
      window = window == 0 ? ns : window + kNew * (ns - window);
    }
    open.open = false;
  }
}

void Speculator::read(uint64_t bytes, uint64_t ns) {
  if (ns == 0 || bytes == 0) return;
  const double speed = static_cast<double>(bytes) / static_cast<double>(ns);
  best_per_ns_ = std::max(best_per_ns_ * kFade, speed);
  bytes_per_ns_ = bytes_per_ns_ == 0 ? speed : bytes_per_ns_ + kNew * (speed - bytes_per_ns_);
}

void Speculator::judge(size_t rank, bool used) {
  Rank& r = ranks_[rank];
  r.used = r.used * kForget + (used ? 1 : 0);
  r.read = r.read * kForget + 1;
  for (Rank& other : ranks_) other.used = std::min(other.used + kRecover * other.read, other.read);
}

}  // namespace zs::experts
