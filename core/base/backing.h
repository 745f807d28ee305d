// Gives large buffers their pages, on all threads, in whichever size is quicker to get.
//
// In virtual machines that return free memory to their host (free page reporting), a huge page
// comes from memory that the host must find first: 3 to 5 ms each, where 512 small pages, which
// such a guest has at hand, take 0.6 ms and a huge page of a machine of its own 0.2 ms (Linux
// 6.18, Firecracker, Zen 4). But reading from small pages is 8 to 10% slower. So each thread
// times a huge page now and then, takes small ones while they are quicker, and may join those
// afterwards, a little in each step.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace zs {

inline constexpr size_t kHugeBlock = size_t{2} << 20;  // a huge page, aligned as one

// Gives memory its pages now, before it is used.
void fill_pages(uint8_t* begin, size_t bytes);
// They will be small ones.
void prefer_small(uint8_t* begin, size_t bytes);

// One thread's choice between huge and small pages. Small ones are what memory should prefer: to
// change that of a block waits for all other threads' filling.
class BlockFiller {
 public:
  using Clock = std::chrono::steady_clock;

  // Gives a block its pages; false if they are small.
  bool fill(uint8_t* block);

 private:
  int small_left_ = 0;  // blocks until it tries a huge page again
  int retry_ = 0;       // how many there were last, if that was in vain
};

class Backing {
 public:
  using Clock = BlockFiller::Clock;

  Backing() = default;
  // `data` is aligned to a block. Nothing is done yet; what is never filled gets its pages from
  // the kernel when it is used.
  Backing(uint8_t* data, size_t bytes, int threads);

  // Gives pages to all bytes before `end`; what other threads are at may follow a little later.
  void fill(int thread, size_t end);
  // After filling, by one thread.
  void finish();

  // Whether some pages are small that should be huge.
  bool split() const { return joined_.load(std::memory_order_relaxed) < small_.size(); }
  // Joins small pages to huge ones, for about as long as given. Content stays as it is, and other
  // threads may read it meanwhile.
  void join(Clock::duration time);

 private:
  uint8_t* data_ = nullptr;
  size_t blocks_ = 0;
  std::atomic<size_t> next_{0};
  std::vector<BlockFiller> fillers_;     // of each thread
  std::unique_ptr<uint8_t[]> is_small_;  // of each block
  std::vector<uint32_t> small_;
  std::atomic<size_t> joined_{0};  // of small_
};

}  // namespace zs
