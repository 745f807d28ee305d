// How experts are kept in memory and read, and what came of it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace zs::experts {

enum class Policy : uint8_t { Lrfu, Lru, Lfu };

// What computing takes by a reader's simulated clock.
struct Pace {
  std::chrono::nanoseconds layer{0};   // all of it but its experts
  std::chrono::nanoseconds expert{0};  // each, of however many tokens
};

struct Options {
  size_t bytes = 0;  // of memory for experts, reads under way included
  Policy policy = Policy::Lrfu;
  double half_life = 256;  // steps after which a demand counts half (Lrfu)
  bool speculate = true;   // read what the next layer is likely to want
  bool prefault = true;    // slots get their pages at load
  // Lossy: an expert in memory is chosen before another whose router logit is larger by less.
  float route_margin = 0;
  // Lossy: decoding computes an expert that is not in memory with its low copy, which is read
  // instead (docs/adr/0013-low-copies.md).
  bool low_copies = false;
  int node = -1;               // NUMA node of the drive, where slots are best; -1: no matter
  bool check_records = false;  // compare the checksum of every record that is read
  bool trace = false;          // record every demand
  // Of the system's files that tell of memory, and how often an idle engine looks at them; 0:
  // never.
  std::string memory_root = "/";
  std::chrono::milliseconds idle_look{1000};
  std::vector<float> profile;   // scores of an earlier run (Scores::save): those are read at load
  std::vector<int32_t> habits;  // of an earlier run (Habits::save)
  // For tests and studies: time is simulated, and the machine's memory is not looked at, so that
  // the same run gives the same Stats.
  std::optional<Pace> pace;
};

// Since the model was loaded. A demand is one expert that a layer of one step needs.
struct Stats {
  uint64_t demanded = 0;      // = hits + shadow_hits + misses
  uint64_t hits = 0;          // resident
  uint64_t shadow_hits = 0;   // read or being read because it was predicted
  uint64_t misses = 0;        // neither: read because it was demanded, or its low copy was used
  uint64_t low_used = 0;      // of the misses, computed with the low copy
  uint64_t speculated = 0;    // reads begun for a prediction
  uint64_t wasted = 0;        // of those, dropped unused after they were read
  uint64_t predicted = 0;     // experts that predictions named (as many as a layer then demanded)
  uint64_t foreseen = 0;      // of those, demanded
  uint64_t evictions = 0;     // resident experts that made room
  uint64_t upgrades = 0;      // full records that replaced low copies
  uint64_t bytes_read = 0;    // by experts, in whole pages
  uint64_t low_bytes = 0;     // of those, by low copies
  uint64_t bytes_wasted = 0;  // of those, for nothing
  uint64_t stall_ns = 0;      // time the workers had nothing to do but wait for bytes
  uint64_t read_ns = 0;       // time with at least one read under way
  uint64_t slots = 0;         // experts that fit into memory now
  uint64_t given = 0;         // bytes of slots that memory pressure has taken and not returned
  uint64_t resident = 0;      // experts in memory
  // Of the page cache, where reads go through it: bytes asked for ahead of their use, and given
  // back after it.
  uint64_t prefetched_bytes = 0, released_bytes = 0;
};

// When a prediction is made: before the experts of the layer before run, or just before the layer
// itself, when most of its input is known.
enum class Guess : uint8_t { Early, Late };
inline constexpr size_t kGuesses = 2;

enum class Outcome : uint8_t { Hit, Shadow, Miss };

struct TraceEvent {
  uint32_t step;
  uint16_t layer, expert;
  uint32_t tokens;  // routed to the expert
  Outcome outcome;
};

}  // namespace zs::experts
