// Threads that do reads for one other thread. Nobody takes a lock: reads go to the threads and
// results come back through two rings of atomic slot numbers; who has nothing to do sleeps.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "io/doorbell.h"
#include "io/fifo.h"
#include "io/reader.h"

namespace zs::io {

class ReadThreads {
 public:
  // Does a read on the calling thread; an errno or 0. Must not throw.
  using Work = std::function<int(const Read&)>;

  // `cpus`: where the threads may run; empty: anywhere. Throws InvalidRequest when the system
  // does not start as many.
  ReadThreads(unsigned threads, const std::vector<int>& cpus, Work work);
  // Reads that have begun are finished, others dropped.
  ~ReadThreads();
  ReadThreads(const ReadThreads&) = delete;
  ReadThreads& operator=(const ReadThreads&) = delete;

  // As those of Reader.
  void submit(std::span<const Read> reads);
  size_t reap(std::span<ReadResult> results, std::chrono::microseconds timeout);
  bool ready() const {
    return finished_.at(finished_.own_end).load(std::memory_order_seq_cst) != kNone;
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Slot {
    Read read;
    int error = 0;
  };
  // Slot numbers in order; a place is kNone before it is filled and after it is taken.
  struct Ring {
    explicit Ring(size_t size);
    std::atomic<uint32_t>& at(uint64_t i) const { return places[i & mask]; }
    std::unique_ptr<std::atomic<uint32_t>[]> places;
    uint64_t mask;
    alignas(64) std::atomic<uint64_t> shared_end{0};  // the end that many threads move
    alignas(64) uint64_t own_end = 0;                 // the end of the one thread
  };

  void worker(unsigned number, const std::vector<int>& cpus);
  bool await_read();
  // Gives waiting reads to the threads as far as there are slots.
  void start();
  size_t take(std::span<ReadResult> results);
  void stop();

  Work work_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  Fifo<Read> waiting_;
  Ring begun_, finished_;
  alignas(64) std::atomic<uint32_t> ready_{0};  // reads in `begun_` that no thread has claimed
  std::atomic<bool> stop_{false};
  Doorbell bell_;
  std::vector<std::thread> threads_;
};

}  // namespace zs::io
