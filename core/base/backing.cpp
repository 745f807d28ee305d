// madvise: MADV_POPULATE_WRITE (Linux 5.14) and MADV_COLLAPSE (6.1); without them pages come as
// they are used.
#include "base/backing.h"

#include <sys/mman.h>

#include <algorithm>

namespace zs {
namespace {

using Clock = PageChoice::Clock;

// Huge pages that take no longer than this are taken whatever small ones would take.
constexpr int64_t kQuickNs = 1'000'000;
// Else they may take so many times as long as small ones.
constexpr int64_t kWorth = 2;
// One block counts no more than this: the thread may have waited for its CPU.
constexpr int64_t kMostNs = 10'000'000;
// Blocks until the other kind is tried again; each time in vain twice as many.
constexpr int kRetry = 32, kLongestRetry = 1024;

// include/uapi/asm-generic/mman-common.h; older C libraries lack them.
constexpr int kPopulateWrite = 23;
constexpr int kCollapse = 25;

void prefer(bool huge, uint8_t* begin, size_t bytes) {
  madvise(begin, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

// Gives memory its pages now, before it is used.
void fill_pages(uint8_t* begin, size_t bytes) {
  madvise(begin, bytes, kPopulateWrite);
}

}  // namespace

PageChoice::Next PageChoice::next() {
  const bool usual = huge_.load();
  const bool trial = left_.load() > 0 && left_.fetch_sub(1) == 1;
  return {trial ? !usual : usual, trial};
}

void PageChoice::took(Next block, Clock::duration time) {
  const auto [huge, trial] = block;
  const int64_t ns = std::min<int64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(time).count(), kMostNs);
  std::atomic<int64_t>& mean = huge ? huge_ns_ : small_ns_;
  const int64_t before = mean.load();
  mean.store(trial || before == 0 ? ns : before + (ns - before) / 4);
  const int64_t of_huge = huge_ns_.load(), of_small = small_ns_.load();
  const bool better = of_huge <= kQuickNs || (of_small > 0 && of_huge <= kWorth * of_small);
  if (better != huge_.exchange(better)) {
    retry_.store(kRetry);
  } else if (trial) {
    retry_.store(std::min(2 * retry_.load(), kLongestRetry));
  } else if (left_.load() > 0) {
    return;
  }
  // Where huge pages are quick, small ones need not be tried.
  left_.store(of_huge <= kQuickNs ? 0 : retry_.load());
}

Backing::Backing(uint8_t* data, size_t bytes)
    : data_(data), bytes_(bytes), blocks_(bytes / kHugeBlock) {
  is_small_ = std::make_unique<uint8_t[]>(blocks_);
  prefer(false, data, bytes);
}

void Backing::fill(size_t end) {
  const size_t last = std::min((end + kHugeBlock - 1) / kHugeBlock, blocks_ + 1);
  for (size_t block; (block = next_.load(std::memory_order_relaxed)) < last;) {
    if (!next_.compare_exchange_weak(block, block + 1)) continue;
    if (block < blocks_) {
      fill_block(block);
    } else {
      fill_pages(data_ + block * kHugeBlock, bytes_ - block * kHugeBlock);
    }
  }
}

void Backing::fill_block(size_t block) {
  uint8_t* begin = data_ + block * kHugeBlock;
  const PageChoice::Next next = choice_.next();
  const auto [huge, trial] = next;
  is_small_[block] = !huge;
  // To change what memory prefers waits for all other threads' filling, so it is done for all that
  // follows.
  if (trial) {
    prefer(huge, begin, kHugeBlock);
  } else if (rest_huge_.load() != huge) {
    const std::lock_guard lock(preferring_);
    if (rest_huge_.load() != huge) prefer(huge, begin, (blocks_ - block) * kHugeBlock);
    rest_huge_.store(huge);
  }
  const auto begun = Clock::now();
  fill_pages(begin, kHugeBlock);
  choice_.took(next, Clock::now() - begun);
}

void Backing::finish() {
  rest_huge_.store(true);
  prefer(true, data_, blocks_ * kHugeBlock);
  for (size_t block = 0; block < blocks_; ++block) {
    if (is_small_[block]) small_.push_back(static_cast<uint32_t>(block));
  }
}

void Backing::join(Clock::duration time, size_t end) {
  const auto until = Clock::now() + time;
  do {
    const size_t i = joined_.fetch_add(1, std::memory_order_relaxed);
    if (i >= small_.size()) {
      joined_.store(small_.size(), std::memory_order_relaxed);
      return;
    }
    if ((small_[i] + 1) * kHugeBlock > end) continue;
    madvise(data_ + small_[i] * kHugeBlock, kHugeBlock, kCollapse);
  } while (Clock::now() < until);
}

}  // namespace zs
