// How far to read ahead. What a read that comes true has brought when its layer demands it is
// saved; one that does not delays the demand by what of it is under way then, for the rest is given
// up. So one that fits into the time in which the drive is idle anyway is begun unless it hardly
// ever comes true, and others if they do as a rule: when a demand comes, less of them has come than
// is under way.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "experts/habits.h"
#include "experts/options.h"

namespace zs::experts {

class Speculator {
 public:
  using Clock = std::chrono::steady_clock;

  // Ranks told apart of early guesses, of late ones, and of each layer's habits.
  static constexpr size_t kRanks = 32;
  static constexpr size_t ranks(Guess guess) { return static_cast<size_t>(guess) * kRanks; }
  static constexpr size_t habit_ranks(size_t layer) { return (kGuesses + layer) * kRanks; }
  static constexpr double kLeastOdds = 0.1, kGoodOdds = 0.7;

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

  // What the drive reads in so long at the best of its speeds lately, for with little under way
  // many drives are slow; 0 if it has not read yet.
  double bytes_at_best(double ns) const { return ns * best_per_ns_; }

  // Bytes that fit the window before `layer` demands its experts.
  double window_bytes(Guess guess, size_t layer, bool many) const {
    return windows_[layer].ns[many][static_cast<int>(guess)] * bytes_per_ns_;
  }

  // Whether to begin a read of this rank (0: the likeliest).
  bool worth(size_t rank, bool fits) const { return odds(rank) > (fits ? kLeastOdds : kGoodOdds); }
  // How many of the reads of this rank came true.
  double odds(size_t rank) const { return ranks_[rank].used / ranks_[rank].read; }
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
  std::array<Rank, (kGuesses + Habits::kLayers) * kRanks> ranks_;
  double bytes_per_ns_ = 0, best_per_ns_ = 0;
  Open open_[2];
};

}  // namespace zs::experts
