// The `pread` back end: one thread for each read under way. For kernels and containers without
// io_uring.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "io/read_threads.h"
#include "io/reader.h"
#include "io/source_files.h"
#include "io/system_faults.h"

namespace zs::io {

class PreadReader final : public Reader {
 public:
  // `cpus`: where the threads may run; empty: anywhere. `call_bytes`: the most that one system
  // call asks for. `faults`: for tests, or nullptr. Throws InvalidRequest.
  PreadReader(SourceFiles files, unsigned depth, const std::vector<int>& cpus, size_t call_bytes,
              std::shared_ptr<SystemFaults> faults);

  const char* name() const override { return "pread"; }
  bool direct() const override { return files_.all_direct(); }
  void submit(std::span<const Read> reads) override { threads_.submit(reads); }
  size_t reap(std::span<ReadResult> results, std::chrono::microseconds timeout) override {
    return threads_.reap(results, timeout);
  }
  bool ready() const override { return threads_.ready(); }
  CacheCounters cache_counters() const override { return {0, released_bytes_}; }

 private:
  int read(const Read& read);

  SourceFiles files_;
  size_t call_bytes_;
  std::shared_ptr<SystemFaults> faults_;
  std::atomic<uint64_t> released_bytes_{0};
  ReadThreads threads_;  // last: ends before what it uses
};

}  // namespace zs::io
