// A fixed team of threads that runs one function together (SPMD), with a barrier of about a
// microsecond between its phases. Threads spin briefly, then sleep: an idle pool uses no CPU.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace zs {

class ThreadPool {
 public:
  // `threads` counts the caller, which takes part as thread 0. `cpus` is empty, or has the CPU
  // that each thread stays on: workers for life, the caller inside run() only, because what its
  // thread does elsewhere is not ours to restrict. Throws InvalidRequest if there is not one for
  // each thread, or one that this process may not use.
  explicit ThreadPool(int threads, std::vector<int> cpus = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }
  const std::vector<int>& cpus() const { return cpus_; }

  // Runs body(thread) on every thread and returns when all have. The body must not throw.
  // One caller at a time.
  template <class Body>
  void run(Body&& body) {
    run_erased([](void* context, int thread) { (*static_cast<Body*>(context))(thread); }, &body);
  }

  // Inside run(): waits until every thread is here.
  void barrier();

 private:
  using Erased = void (*)(void* context, int thread);
  void run_erased(Erased body, void* context);
  void worker(int thread);
  void stop();
  void wait_change(const std::atomic<uint32_t>& value, uint32_t old) const;

  int size_;
  std::vector<int> cpus_;
  int pauses_, yields_;
  std::vector<std::thread> workers_;
  Erased body_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> epoch_{0};    // one more for each run
  alignas(64) std::atomic<uint32_t> arrived_{0};  // threads at the current barrier
  alignas(64) std::atomic<uint32_t> phase_{0};    // one more for each barrier passed
  std::atomic<bool> stop_{false};
};

// The begin and end of one thread's share of `count` items in a fixed contiguous split.
struct Range {
  size_t begin, end;
};
inline Range share(size_t count, int thread, int threads) {
  return {count * thread / threads, count * (thread + 1) / threads};
}

}  // namespace zs
