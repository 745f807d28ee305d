// Spin-then-sleep barriers on C++20 atomic wait (a futex on Linux).
#include "base/thread_pool.h"

#include <algorithm>
#include <optional>
#include <string>
#include <system_error>

#include "base/affinity.h"
#include "base/error.h"

namespace zs {
namespace {

// A waiting thread pauses for about 4 us, the usual wait at a barrier; then it offers its CPU to
// others for about 40 us, longer than any gap between two operators; then it sleeps in the
// kernel. Two pools of two threads on two cores with 2 us of work a barrier each reach 45% of one
// alone when pinned, 25% when not; with 2000 pauses instead and no offers 50% and 2%, because a
// thread pauses on the very CPU that the awaited one needs (Linux 6.18, Zen 4).
constexpr int kPauses = 200;
constexpr int kYields = 100;
// With fewer CPUs than threads the awaited thread is often not running: offer the CPU at once.
constexpr int kYieldsCrowded = 20;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void check_cpus(int threads, const std::vector<int>& cpus) {
  if (cpus.empty()) return;
  if (cpus.size() != static_cast<size_t>(threads)) {
    throw Error(ErrorKind::InvalidRequest, "cpus lists " + std::to_string(cpus.size()) +
                                               " CPUs for " + std::to_string(threads) +
                                               " threads; give one for each thread, or none.");
  }
  const auto allowed = thread_affinity();
  if (!allowed) {
    throw Error(ErrorKind::InvalidRequest,
                "cpus: this system cannot pin threads; leave cpus empty.");
  }
  for (const int cpu : cpus) {
    if (std::binary_search(allowed->begin(), allowed->end(), cpu)) continue;
    throw Error(ErrorKind::InvalidRequest,
                "cpus: CPU " + std::to_string(cpu) +
                    " is not one that this process may use; see `zerostall info --hardware`.");
  }
}

}  // namespace

ThreadPool::ThreadPool(int threads, std::vector<int> cpus)
    : size_(threads < 1 ? 1 : threads), cpus_(std::move(cpus)) {
  check_cpus(size_, cpus_);
  const bool crowded = static_cast<unsigned>(size_) > std::thread::hardware_concurrency();
  pauses_ = crowded ? 0 : kPauses;
  yields_ = crowded ? kYieldsCrowded : kYields;
  // First, because if growing failed later, the threads already started could not be joined.
  workers_.reserve(static_cast<size_t>(size_) - 1);
  try {
    for (int i = 1; i < size_; ++i) workers_.emplace_back([this, i] { worker(i); });
  } catch (const std::system_error&) {
    stop();
    throw Error(ErrorKind::InvalidRequest,
                "the system started only " + std::to_string(workers_.size() + 1) + " of " +
                    std::to_string(size_) +
                    " threads; give fewer, or raise its limit (ulimit -u).");
  }
}

ThreadPool::~ThreadPool() {
  stop();
}

void ThreadPool::stop() {
  stop_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (auto& thread : workers_) thread.join();
}

void ThreadPool::wait_change(const std::atomic<uint32_t>& value, uint32_t old) const {
  for (int i = 0; i < pauses_; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  for (int i = 0; i < yields_; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    std::this_thread::yield();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

void ThreadPool::barrier() {
  if (size_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(size_)) {
    arrived_.store(0, std::memory_order_relaxed);
    // notify_all() reads whether anybody waits, and must not do so before this store is seen.
    phase_.store(phase + 1, std::memory_order_seq_cst);
    phase_.notify_all();
  } else {
    wait_change(phase_, phase);
  }
}

void ThreadPool::run_erased(Erased body, void* context) {
  // Without this the caller may sit on the CPU of a worker that cannot move away. Three system
  // calls, 2 to 5 us together in a loaded virtual machine (Zen 4, Linux 6.18).
  std::optional<ScopedBinding> binding;
  if (!cpus_.empty()) binding.emplace(cpus_[0]);
  body_ = body;
  context_ = context;
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  body(context, 0);
  barrier();  // every worker has left the body
}

void ThreadPool::worker(int thread) {
  // If the CPU was taken from this process meanwhile, the thread runs where it may.
  if (!cpus_.empty()) bind_thread(cpus_[thread]);
  uint32_t epoch = 0;
  for (;;) {
    wait_change(epoch_, epoch);
    epoch = epoch_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    body_(context_, thread);
    barrier();
  }
}

}  // namespace zs
