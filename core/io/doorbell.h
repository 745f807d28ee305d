// Lets one thread sleep, for a limited time, until another has something for it. Ringing takes
// neither a lock nor a system call while nobody sleeps. (std::atomic::wait knows no time limit.)
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace zs::io {

class Doorbell {
 public:
  // After what the sleeper waits for was stored with memory_order_seq_cst.
  void ring() {
    if (!asleep_.load(std::memory_order_seq_cst)) return;
    const std::lock_guard lock(mutex_);
    wake_.notify_one();
  }

  // Sleeps until `ready()`, which loads with memory_order_seq_cst, or the deadline: either the
  // sleeper sees what was stored, or the other thread sees that it sleeps.
  template <class Ready>
  void wait(Ready&& ready, std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    asleep_.store(true, std::memory_order_seq_cst);
    wake_.wait_until(lock, deadline, ready);
    asleep_.store(false, std::memory_order_relaxed);
  }

 private:
  std::atomic<bool> asleep_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace zs::io
