// The `uring` back end: as many reads under way as the depth says, without threads. A batch is
// one system call, and finished reads are taken without any, or with one where the kernel holds
// them back.
//
// Memory is not registered with the ring. A registered buffer saves finding its pages with each
// read, but submitting as a whole takes only 5 us a MiB in huge pages (Linux 6.18, Firecracker),
// tokens were no faster so (docs/adr/0007-experts-in-waves.md), and what is registered is locked in
// memory: RLIMIT_MEMLOCK is 8 MiB by default, and the arenas of experts are many GiB.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "io/fifo.h"
#include "io/progress.h"
#include "io/reader.h"
#include "io/source_files.h"
#include "io/system_faults.h"
#include "io/uring.h"

namespace zs::io {

class UringReader final : public Reader {
 public:
  // `call_bytes`: the most that one request to the system asks for. `faults`: for tests, or
  // nullptr.
  UringReader(std::unique_ptr<Uring> ring, SourceFiles files, unsigned depth, size_t call_bytes,
              std::shared_ptr<SystemFaults> faults);
  ~UringReader() override;

  const char* name() const override { return "uring"; }
  bool direct() const override { return files_.all_direct(); }
  void submit(std::span<const Read> reads) override;
  size_t reap(std::span<ReadResult> results, std::chrono::microseconds timeout) override;
  CacheCounters cache_counters() const override { return {0, released_bytes_}; }
  bool ready() const override { return ring_->ready(); }

 private:
  size_t under_way() const { return slots_.size() - free_.size(); }
  void push(uint32_t slot);
  // Gives waiting reads to the kernel as far as the depth allows. An errno or 0.
  int start();
  int submit_pushed();
  size_t take(std::span<ReadResult> results);

  std::unique_ptr<Uring> ring_;
  SourceFiles files_;
  size_t call_bytes_;
  std::shared_ptr<SystemFaults> faults_;
  bool registered_;
  int error_ = 0;  // of the last start()
  std::vector<Progress> slots_;
  std::vector<uint32_t> free_;
  Fifo<Read> waiting_;
  uint64_t released_bytes_ = 0;
};

}  // namespace zs::io
