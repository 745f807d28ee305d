// How far to read ahead: as many bytes as the drive would otherwise be idle for, and only ranks of
// a prediction that have come true often enough.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace zs::experts {

class Speculator {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Speculator(size_t layers) : windows_(layers) {}

  // The drive has nothing demanded left to read for `layer`; what follows is its idle window.
  void idle_begins(size_t layer, Clock::time_point now);
  // Another layer demands its experts: the window ends. `many`: tokens of a prompt, whose windows
  // are of another length.
  void demand_begins(Clock::time_point now, bool many);
  // The drive's speed in bytes a nanosecond, from what it read lately.
  void read(uint64_t bytes, uint64_t ns);

  // Bytes that fit the idle window after `layer`.
  size_t window_bytes(size_t layer, bool many) const;

  // Whether the candidate of this rank (0: the likeliest) among those missing is worth a read.
  bool worth(size_t rank) const;
  // What became of a read of this rank.
  void judge(size_t rank, bool used);

 private:
  static constexpr size_t kRanks = 32;
  struct Window {
    double decode_ns = 0, prompt_ns = 0;
  };
  struct Rank {
    double used = 1, read = 1;  // hopeful until something is known
  };

  std::vector<Window> windows_;
  Rank ranks_[kRanks];
  double bytes_per_ns_ = 0;
  size_t idle_layer_ = 0;
  bool idle_ = false;
  Clock::time_point idle_since_;
};

}  // namespace zs::experts
