// How far to read ahead. A read that comes true saves as much of its time as passes before the
// demand; one that does not delays the demand by the rest. So it is worth beginning when the part
// of it that fits into the time in which the drive is idle anyway exceeds the odds of its failing.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "experts/options.h"

namespace zs::experts {

class Speculator {
 public:
  using Clock = std::chrono::steady_clock;

  // Ranks told apart; those of late guesses follow those of early ones.
  static constexpr size_t kRanks = 32;

  explicit Speculator(size_t layers) : windows_(layers) {}

  // The drive has read all that the layer before `layer` demanded: what follows is the idle window
  // of early guesses.
  void idle_begins(size_t layer, Clock::time_point now) { begin(Guess::Early, layer, now); }
  // Late guesses for `layer` are made.
  void late_begins(size_t layer, Clock::time_point now) { begin(Guess::Late, layer, now); }
  // `layer` demands its experts: both windows end. `many`: in a prompt, where windows are of
  // another length.
  void demand_begins(size_t layer, Clock::time_point now, bool many);
  // The drive's speed, from what it read lately.
  void read(uint64_t bytes, uint64_t ns);

  // Bytes that fit the window before `layer` demands its experts.
  double window_bytes(Guess guess, size_t layer, bool many) const {
    return windows_[layer].ns[many][static_cast<int>(guess)] * bytes_per_ns_;
  }

  // Whether to begin a read of this rank (0: the likeliest), of which the part `fit` is idle time.
  bool worth(size_t rank, double fit) const {
    return fit * ranks_[rank].read > ranks_[rank].read - ranks_[rank].used;
  }
  // What became of a read of this rank.
  void judge(size_t rank, bool used);

 private:
  struct Window {
    double ns[2][2] = {};  // [in a prompt][guess]
  };
  struct Rank {
    double used = 1, read = 1;  // hopeful until something is known
  };
  struct Open {
    bool open = false;
    size_t layer = 0;
    Clock::time_point since;
  };
  void begin(Guess guess, size_t layer, Clock::time_point now) {
    open_[static_cast<int>(guess)] = {true, layer, now};
  }

  std::vector<Window> windows_;
  std::array<Rank, 2 * kRanks> ranks_;
  double bytes_per_ns_ = 0;
  Open open_[2];
};

}  // namespace zs::experts
