// A reader as slow as it is told to be: for tests and studies whose figures shall not hang on the
// drive at hand.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "io/fifo.h"
#include "io/reader.h"

namespace zs::io {

struct Throttle {
  struct Drive {
    std::chrono::microseconds latency{0};
    double bytes_per_second = 1e9;
  };
  std::vector<Drive> drives;   // at least one
  size_t files_per_drive = 0;  // that many files lie on each, in order; 0: all on the first
  // The clock stands still but while somebody waits in reap(): then it is at once as late as it
  // has to be. What takes time apart from reading counts as far as pass() says.
  bool simulated = false;
};

// Each drive takes its reads one after the other at its bandwidth, and each result is there its
// latency later. Results come in the order of those times, and not before the real reads are done.
class ThrottledReader final : public Reader {
 public:
  ThrottledReader(std::unique_ptr<Reader> reader, const Throttle& throttle);

  const char* name() const override { return reader_->name(); }
  bool direct() const override { return reader_->direct(); }
  void submit(std::span<const Read> reads) override;
  size_t reap(std::span<ReadResult> results, std::chrono::microseconds timeout) override;
  const uint8_t* mapping(uint32_t file) const override { return reader_->mapping(file); }
  void release(uint32_t file, uint64_t offset, size_t bytes) override {
    reader_->release(file, offset, bytes);
  }
  std::optional<Error> take_lost() override { return reader_->take_lost(); }
  CacheCounters cache_counters() const override { return reader_->cache_counters(); }
  Clock::time_point now() const override { return simulated_ ? now_ : Clock::now(); }
  void pass(Clock::duration time) override { now_ += time; }

 private:
  struct Drive {
    Throttle::Drive model;
    Clock::time_point free{};  // when it can begin with the next read
  };
  struct Held {
    uint32_t tag = 0;
    Clock::time_point due{};
    bool arrived = false;
    int error = 0;
  };

  Clock::time_point schedule(const Read& read);
  void arrive(std::chrono::microseconds timeout);
  void wait_for(const Held& first, Clock::time_point deadline);

  std::unique_ptr<Reader> reader_;
  std::vector<Drive> drives_;
  size_t files_per_drive_;
  bool simulated_;
  Clock::time_point now_{};  // of the simulated clock
  std::vector<Held> held_;
  std::vector<uint32_t> free_;
  Fifo<uint32_t> order_;  // of held reads, the first due in front
};

}  // namespace zs::io
