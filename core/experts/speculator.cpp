// Exponential averages of windows, speed and precision.
#include "experts/speculator.h"

#include <algorithm>

namespace zs::experts {
namespace {

constexpr double kNew = 0.2;         // weight of the latest window
constexpr double kForget = 0.98;     // of what a rank's reads came to, at each new one
constexpr double kWorthwhile = 0.5;  // a read that comes true less often delays more than it saves
// Now and then a rank that failed is tried again, in case the text has changed.
constexpr double kRecover = 0.002;

}  // namespace

void Speculator::idle_begins(size_t layer, Clock::time_point now) {
  idle_ = true;
  idle_layer_ = layer;
  idle_since_ = now;
}

void Speculator::demand_begins(Clock::time_point now, bool many) {
  if (!idle_) return;
  idle_ = false;
  const double ns = std::chrono::duration<double, std::nano>(now - idle_since_).count();
  double& window = many ? windows_[idle_layer_].prompt_ns : windows_[idle_layer_].decode_ns;
  window = window == 0 ? ns : window + kNew * (ns - window);
}

void Speculator::read(uint64_t bytes, uint64_t ns) {
  if (ns == 0 || bytes == 0) return;
  const double speed = static_cast<double>(bytes) / static_cast<double>(ns);
  bytes_per_ns_ = bytes_per_ns_ == 0 ? speed : bytes_per_ns_ + kNew * (speed - bytes_per_ns_);
}

size_t Speculator::window_bytes(size_t layer, bool many) const {
  const Window& window = windows_[layer];
  return static_cast<size_t>((many ? window.prompt_ns : window.decode_ns) * bytes_per_ns_);
}

bool Speculator::worth(size_t rank) const {
  const Rank& r = ranks_[std::min(rank, kRanks - 1)];
  return r.used >= kWorthwhile * r.read;
}

void Speculator::judge(size_t rank, bool used) {
  Rank& r = ranks_[std::min(rank, kRanks - 1)];
  r.used = r.used * kForget + (used ? 1 : 0);
  r.read = r.read * kForget + 1;
  for (Rank& other : ranks_) other.used = std::min(other.used + kRecover * other.read, other.read);
}

}  // namespace zs::experts
