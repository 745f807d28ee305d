// Reading pieces of files into memory without waiting for them: one contract, several back ends.
// A reader belongs to one thread, which submits and reaps; what runs behind it is its own affair.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace zs::io {

// Offsets, sizes and addresses of reads are multiples of this, so that every back end and drive
// can read past the page cache.
inline constexpr size_t kReadAlign = 4096;

struct Read {
  uint32_t tag = 0;      // comes back with the result
  uint32_t file = 0;     // index into the paths that the reader was opened on
  uint64_t offset = 0;   // in the file
  size_t bytes = 0;      // of `out`
  size_t needed = 0;     // 1..bytes: fewer bytes are an error, more may end with the file
  uint8_t* out = nullptr;
};

struct ReadResult {
  uint32_t tag = 0;
  int error = 0;  // errno; 0: all bytes needed are there
};

class Reader {
 public:
  virtual ~Reader() = default;  // waits for reads under way: their memory may go afterwards
  virtual const char* name() const = 0;
  // What the files are read through: past the page cache, or not.
  virtual bool direct() const = 0;

  // Starts reads and returns; they finish in any order, each exactly once. Reads beyond the
  // depth of the back end wait inside it, in order.
  virtual void submit(std::span<const Read> reads) = 0;

  // Takes finished reads, at most results.size(). If there are none it waits for one, at most
  // `timeout`. Returns how many it took.
  virtual size_t reap(std::span<ReadResult> results, std::chrono::microseconds timeout) = 0;
};

}  // namespace zs::io
