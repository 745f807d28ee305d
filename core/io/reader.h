// Reading pieces of files into memory without waiting for them: one contract, several back ends.
// A reader serves one thread at a time, which submits and reaps; what runs behind it is its own
// affair.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/error.h"

namespace zs::io {

// Offsets, sizes and addresses of reads are multiples of this, so that every back end and drive
// can read past the page cache.
inline constexpr size_t kReadAlign = 4096;

// The error of a read that met the end of the file too early.
inline constexpr int kEndOfFile = ENODATA;

using Clock = std::chrono::steady_clock;

struct Read {
  uint32_t tag = 0;        // comes back with the result
  uint32_t file = 0;       // index into the paths that the reader was opened on
  uint64_t offset = 0;     // in the file
  size_t bytes = 0;        // room at `out`
  size_t needed = 0;       // 1..bytes: fewer are an error; what follows may be missing
  uint8_t* out = nullptr;  // nullptr: they stay where the file is mapped
};

struct ReadResult {
  uint32_t tag = 0;
  int error = 0;  // errno; 0: all bytes needed are there
};

// What a reader did with the page cache.
struct CacheCounters {
  uint64_t prefetched_bytes = 0;  // asked for ahead of their use
  uint64_t released_bytes = 0;    // given back after it
};

class Reader {
 public:
  virtual ~Reader() = default;  // waits for reads under way: their memory may go afterwards
  virtual const char* name() const = 0;
  // Whether all files are read past the page cache.
  virtual bool direct() const = 0;

  // Starts reads and returns; they finish in any order, each exactly once. Reads beyond the
  // depth of the back end wait inside it, in order. What fails here, reap() reports.
  virtual void submit(std::span<const Read> reads) = 0;

  // Takes finished reads, at most results.size(). If there are none it waits for one, at most
  // `timeout` and not at all if no read is under way. Returns how many it took.
  virtual size_t reap(std::span<ReadResult> results, std::chrono::microseconds timeout) = 0;

  // Whether reap() may have something to give, as far as can be told at next to no cost.
  virtual bool ready() const { return true; }

  // Where a file is mapped, for reads without `out`; nullptr: this back end has no mapping.
  virtual const uint8_t* mapping(uint32_t) const { return nullptr; }
  // Bytes of a mapping, in whole pages, that are not needed any more.
  virtual void release(uint32_t /*file*/, uint64_t /*offset*/, size_t /*bytes*/) {}

  // Of the mappings (gguf::Watch).
  virtual std::optional<Error> take_lost() { return std::nullopt; }

  virtual CacheCounters cache_counters() const { return {}; }

  // The time that reads take is told by this clock, which may be a simulated one.
  virtual Clock::time_point now() const { return Clock::now(); }
  // Moves a simulated clock on by what was done apart from reading; another moves by itself.
  virtual void pass(Clock::duration) {}
};

}  // namespace zs::io
