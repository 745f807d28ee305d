// A reader that fails as it is told to: for tests.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "io/reader.h"
#include "io/system_faults.h"

namespace zs::io {

struct Faults {
  struct Place {
    uint32_t file = 0;
    uint64_t offset = 0;
  };
  // Reads are counted from 0 in the order of their submission, repeated ones too.
  std::vector<uint64_t> failing_reads;  // end with EIO
  std::vector<Place> failing_places;    // reads that hold this byte end with EIO
  std::vector<uint32_t> failing_files;  // all reads end with EIO
  std::vector<uint64_t> stalled_reads;  // take `stall` longer
  std::chrono::milliseconds stall{500};
  std::chrono::milliseconds closing{0};  // takes so long, as if the drive had a read still
  uint64_t gone_after = UINT64_MAX;      // the drive disappears: reads from this on end with ENODEV
  // Results are held until there are that many, or all, and come in an order of chance.
  size_t shuffled = 0;
  uint64_t seed = 0;
  SystemFaultOptions system;  // below the reader; not of mmap
};

class FaultyReader final : public Reader {
 public:
  FaultyReader(std::unique_ptr<Reader> reader, const Faults& faults);
  ~FaultyReader() override;

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
  bool ready() const override { return reader_->ready() || !stalled_.empty() || may_give(); }

 private:
  struct Slot {
    uint32_t tag = 0;
    bool stalls = false;
  };
  struct Stalled {
    Clock::time_point due;
    ReadResult result;
  };

  int error_of(const Read& read) const;
  void arrive(std::chrono::microseconds timeout);
  bool may_give() const;
  Clock::time_point next_due() const;

  std::unique_ptr<Reader> reader_;
  Faults faults_;
  std::mt19937_64 random_;
  uint64_t submitted_ = 0;
  size_t inside_ = 0;        // the wrapped reader
  std::vector<Slot> slots_;  // by number of the read
  std::vector<Stalled> stalled_;
  std::vector<ReadResult> done_;
};

}  // namespace zs::io
