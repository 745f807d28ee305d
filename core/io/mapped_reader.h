// The `mmap` back end: for comparison, and for file systems without O_DIRECT. A read asks for its
// pages. One with `out` copies them and gives them back at once; one without leaves them mapped
// until they are released. So the page cache holds what is in use and no more.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "io/loss_watch.h"
#include "io/mapping.h"
#include "io/read_threads.h"
#include "io/reader.h"
#include "io/source_files.h"

namespace zs::io {

class MappedReader final : public Reader {
 public:
  // Throws Storage when a file cannot be opened or mapped, InvalidRequest without threads.
  MappedReader(const std::vector<std::string>& paths, unsigned depth, const std::vector<int>& cpus);

  const char* name() const override { return "mmap"; }
  bool direct() const override { return false; }
  void submit(std::span<const Read> reads) override { threads_.submit(reads); }
  size_t reap(std::span<ReadResult> results, std::chrono::microseconds timeout) override {
    return threads_.reap(results, timeout);
  }
  bool ready() const override { return threads_.ready(); }
  const uint8_t* mapping(uint32_t file) const override { return mappings_[file]->bytes().data(); }
  void release(uint32_t file, uint64_t offset, size_t bytes) override;
  std::optional<Error> take_lost() override;
  CacheCounters cache_counters() const override { return {prefetched_bytes_, released_bytes_}; }

 private:
  int read(const Read& read);

  SourceFiles files_;
  std::vector<std::shared_ptr<const Mapping>> mappings_;
  std::vector<std::unique_ptr<gguf::Watch>> watches_;
  std::unique_ptr<std::atomic<bool>[]> in_place_;  // of each file: something was read without `out`
  std::atomic<uint64_t> prefetched_bytes_{0}, released_bytes_{0};
  ReadThreads threads_;  // last: ends before what it uses
};

}  // namespace zs::io
