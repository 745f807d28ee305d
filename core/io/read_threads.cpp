// One thread fills `begun_` and empties `finished_`; the others do the opposite.
#include "io/read_threads.h"

#ifdef __linux__
#include <pthread.h>
#endif

#include <algorithm>
#include <bit>
#include <string>
#include <system_error>
#include <utility>

#include "base/affinity.h"
#include "base/error.h"

namespace zs::io {
namespace {

// Reads at hand for each thread, so that none waits while the submitter is busy elsewhere.
constexpr size_t kSlotsPerThread = 4;

}  // namespace

ReadThreads::Ring::Ring(size_t size)
    : places(std::make_unique<std::atomic<uint32_t>[]>(size)), mask(size - 1) {
  for (size_t i = 0; i < size; ++i) places[i].store(kNone, std::memory_order_relaxed);
}

ReadThreads::ReadThreads(unsigned threads, const std::vector<int>& cpus, Work work)
    : work_(std::move(work)),
      slots_(std::bit_ceil(threads * kSlotsPerThread)),
      begun_(slots_.size()),
      finished_(slots_.size()) {
  for (size_t i = slots_.size(); i-- > 0;) free_.push_back(static_cast<uint32_t>(i));
  threads_.reserve(threads);
  try {
    for (unsigned i = 0; i < threads; ++i) {
      threads_.emplace_back([this, i, cpus] { worker(i, cpus); });
    }
  } catch (const std::system_error&) {
    stop();
    throw Error(ErrorKind::InvalidRequest,
                "the system started only " + std::to_string(threads_.size()) + " of " +
                    std::to_string(threads) +
                    " threads that read; read with a smaller depth, or raise its limit "
                    "(ulimit -u).");
  }
}

ReadThreads::~ReadThreads() {
  stop();
}

void ReadThreads::stop() {
  stop_.store(true, std::memory_order_relaxed);
  ready_.fetch_add(static_cast<uint32_t>(threads_.size()), std::memory_order_release);
  ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ReadThreads::submit(std::span<const Read> reads) {
  for (const Read& read : reads) waiting_.push(read);
  start();
}

void ReadThreads::start() {
  uint32_t started = 0;
  while (!free_.empty() && !waiting_.empty()) {
    std::atomic<uint32_t>& place = begun_.at(begun_.own_end);
    // A thread that claimed this place a round ago was interrupted before it took the number.
    if (place.load(std::memory_order_acquire) != kNone) break;
    const uint32_t slot = free_.back();
    free_.pop_back();
    slots_[slot].read = waiting_.pop();
    place.store(slot, std::memory_order_release);
    ++begun_.own_end;
    ++started;
  }
  if (started == 0) return;
  ready_.fetch_add(started, std::memory_order_release);
  if (started == 1) {
    ready_.notify_one();
  } else {
    ready_.notify_all();
  }
}

// Claims one read; false at the end.
bool ReadThreads::await_read() {
  uint32_t ready = ready_.load(std::memory_order_acquire);
  for (;;) {
    if (stop_.load(std::memory_order_relaxed)) return false;
    if (ready == 0) {
      ready_.wait(0, std::memory_order_acquire);
      ready = ready_.load(std::memory_order_acquire);
    } else if (ready_.compare_exchange_weak(ready, ready - 1, std::memory_order_acq_rel)) {
      return true;
    }
  }
}

void ReadThreads::worker(unsigned number, const std::vector<int>& cpus) {
#ifdef __linux__
  pthread_setname_np(pthread_self(), ("zs-read-" + std::to_string(number)).c_str());
#endif
  if (!cpus.empty()) bind_thread(cpus);  // if the system refuses, it runs where it may
  while (await_read()) {
    if (stop_.load(std::memory_order_relaxed)) return;
    std::atomic<uint32_t>& place =
        begun_.at(begun_.shared_end.fetch_add(1, std::memory_order_acq_rel));
    // There are as many filled places as claims, but another claim may have been for this one.
    uint32_t slot;
    while ((slot = place.exchange(kNone, std::memory_order_acq_rel)) == kNone) {
      std::this_thread::yield();
    }
    slots_[slot].error = work_(slots_[slot].read);
    const uint64_t end = finished_.shared_end.fetch_add(1, std::memory_order_relaxed);
    finished_.at(end).store(slot, std::memory_order_seq_cst);
    bell_.ring();
  }
}

size_t ReadThreads::take(std::span<ReadResult> results) {
  size_t taken = 0;
  while (taken < results.size()) {
    std::atomic<uint32_t>& place = finished_.at(finished_.own_end);
    const uint32_t slot = place.load(std::memory_order_acquire);
    if (slot == kNone) break;
    place.store(kNone, std::memory_order_relaxed);
    ++finished_.own_end;
    results[taken++] = {slots_[slot].read.tag, slots_[slot].error};
    free_.push_back(slot);
  }
  start();
  return taken;
}

size_t ReadThreads::reap(std::span<ReadResult> results, std::chrono::microseconds timeout) {
  const size_t taken = take(results);
  const bool under_way = free_.size() != slots_.size();
  if (taken != 0 || timeout.count() <= 0 || !under_way) return taken;
  const std::atomic<uint32_t>& place = finished_.at(finished_.own_end);
  bell_.wait([&] { return place.load(std::memory_order_seq_cst) != kNone; },
             Clock::now() + timeout);
  return take(results);
}

}  // namespace zs::io
