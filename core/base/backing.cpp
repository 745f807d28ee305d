// madvise: MADV_POPULATE_WRITE (Linux 5.14) and MADV_COLLAPSE (6.1); without them pages come as
// they are used.
#include "base/backing.h"

#include <sys/mman.h>

#include <algorithm>

namespace zs {
namespace {

using Clock = BlockFiller::Clock;

// Slower than this a huge page takes longer than as many bytes in small ones.
constexpr auto kSlow = std::chrono::milliseconds(1);
// Blocks in small pages before a huge one is tried again; each time in vain twice as many.
constexpr int kRetry = 32, kLongestRetry = 1024;

// include/uapi/asm-generic/mman-common.h; older C libraries lack them.
constexpr int kPopulateWrite = 23;
constexpr int kCollapse = 25;

}  // namespace

void fill_pages(uint8_t* begin, size_t bytes) {
  madvise(begin, bytes, kPopulateWrite);
}

void prefer_small(uint8_t* begin, size_t bytes) {
  madvise(begin, bytes, MADV_NOHUGEPAGE);
}

bool BlockFiller::fill(uint8_t* block) {
  if (small_left_ > 0) {
    --small_left_;
    fill_pages(block, kHugeBlock);
    return false;
  }
  madvise(block, kHugeBlock, MADV_HUGEPAGE);
  const auto begun = Clock::now();
  if (madvise(block, kHugeBlock, kPopulateWrite) != 0) return true;
  if (Clock::now() - begun > kSlow) {
    retry_ = std::clamp(2 * retry_, kRetry, kLongestRetry);
    small_left_ = retry_;
  } else {
    retry_ = 0;
  }
  return true;
}

Backing::Backing(uint8_t* data, size_t bytes, int threads)
    : data_(data), blocks_(bytes / kHugeBlock), fillers_(threads) {
  is_small_ = std::make_unique<uint8_t[]>(blocks_);
  prefer_small(data, bytes);
}

void Backing::fill(int thread, size_t end) {
  const size_t last = (end + kHugeBlock - 1) / kHugeBlock;
  for (size_t block; (block = next_.load(std::memory_order_relaxed)) < last && block < blocks_;) {
    if (!next_.compare_exchange_weak(block, block + 1)) continue;
    is_small_[block] = !fillers_[thread].fill(data_ + block * kHugeBlock);
  }
}

void Backing::finish() {
  madvise(data_, blocks_ * kHugeBlock, MADV_HUGEPAGE);
  for (size_t block = 0; block < blocks_; ++block) {
    if (is_small_[block]) small_.push_back(static_cast<uint32_t>(block));
  }
}

void Backing::join(Clock::duration time) {
  const auto end = Clock::now() + time;
  do {
    const size_t i = joined_.fetch_add(1, std::memory_order_relaxed);
    if (i >= small_.size()) {
      joined_.store(small_.size(), std::memory_order_relaxed);
      return;
    }
    madvise(data_ + small_[i] * kHugeBlock, kHugeBlock, kCollapse);
  } while (Clock::now() < end);
}

}  // namespace zs
