// Gives large buffers their pages, on all threads: huge ones, unless small ones are much quicker to
// get.
//
// In virtual machines that return free memory to their host (free page reporting), a huge page
// comes from memory that the host must find first: 3 to 5 ms each, where 512 small pages take 0.6
// ms while the guest has them at hand, and as long as a huge one when it has not; a huge page of a
// machine of its own takes 0.2 ms (Linux 6.18, Firecracker, Zen 4). But reading from small pages
// is 8 to 30% slower. So both are timed now and then, and small ones may be joined afterwards, a
// little in each step.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

namespace zs {

inline constexpr size_t kHugeBlock = size_t{2} << 20;  // a huge page, aligned as one

// Huge or small, by what they took lately. Any thread.
class PageChoice {
 public:
  using Clock = std::chrono::steady_clock;

  struct Next {
    bool huge;
    bool trial;  // it alone, to see whether that is quicker by now
  };
  Next next();
  void took(Next block, Clock::duration time);

 private:
  std::atomic<bool> huge_{true};
  std::atomic<int64_t> small_ns_{0}, huge_ns_{0};  // a block takes, on average; 0: not known
  std::atomic<int> left_{0};                       // blocks until the other is tried, if not 0
  std::atomic<int> retry_{32};                     // how many there were last
};

class Backing {
 public:
  using Clock = PageChoice::Clock;

  Backing() = default;
  // `data` is aligned to a block. Nothing is done yet; what is never filled gets its pages, small
  // ones, from the kernel when it is used.
  Backing(uint8_t* data, size_t bytes);

  // Gives pages to all bytes before `end`; what other threads are at may follow a little later.
  void fill(size_t end);
  // After filling, by one thread: small pages may be joined from now on.
  void finish();

  // Whether some pages are small that should be huge.
  bool split() const { return joined_.load(std::memory_order_relaxed) < small_.size(); }
  // Joins small pages to huge ones, for about as long as given, those before byte `end`. Content
  // stays as it is, and other threads may read it meanwhile.
  void join(Clock::duration time, size_t end = std::numeric_limits<size_t>::max());

 private:
  void fill_block(size_t block);

  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  size_t blocks_ = 0;  // whole ones; what is left has small pages
  std::atomic<size_t> next_{0};
  PageChoice choice_;
  std::atomic<bool> rest_huge_{false};   // what blocks that are not filled prefer
  std::mutex preferring_;                // held while that is changed
  std::unique_ptr<uint8_t[]> is_small_;  // of each block
  std::vector<uint32_t> small_;
  std::atomic<size_t> joined_{0};  // of small_
};

}  // namespace zs
