// madvise: MADV_POPULATE_WRITE (Linux 5.14) and MADV_COLLAPSE (6.1); without them pages come as
// they are used.
#include "base/backing.h"

#include <sys/mman.h>

namespace zs {
namespace {

// Slower than this a huge page takes longer than as many bytes in small ones.
constexpr auto kSlow = std::chrono::milliseconds(1);
// Blocks in small pages before a huge one is tried again.
constexpr int kRetry = 32;

// include/uapi/asm-generic/mman-common.h; older C libraries lack them.
constexpr int kPopulateWrite = 23;
constexpr int kCollapse = 25;

}  // namespace

Backing::Backing(uint8_t* data, size_t bytes, int threads, bool small)
    : data_(data), blocks_(bytes / kBlock), small_only_(small), small_left_(threads) {
  is_small_ = std::make_unique<uint8_t[]>(blocks_);
  if (small) madvise(data, bytes, MADV_NOHUGEPAGE);
}

void Backing::fill(int thread, size_t end) {
  const size_t last = (end + kBlock - 1) / kBlock;
  for (size_t block; (block = next_.load(std::memory_order_relaxed)) < last && block < blocks_;) {
    if (next_.compare_exchange_weak(block, block + 1)) fill_block(thread, block);
  }
}

void Backing::fill_block(int thread, size_t block) {
  uint8_t* begin = data_ + block * kBlock;
  if (small_only_) {
    madvise(begin, kBlock, kPopulateWrite);
    return;
  }
  int& small_left = small_left_[thread];
  if (small_left > 0) {
    --small_left;
    is_small_[block] = 1;
    madvise(begin, kBlock, MADV_NOHUGEPAGE);
    madvise(begin, kBlock, kPopulateWrite);
    return;
  }
  const auto begun = Clock::now();
  if (madvise(begin, kBlock, kPopulateWrite) == 0 && Clock::now() - begun > kSlow) {
    small_left = kRetry;
  }
}

void Backing::finish() {
  madvise(data_, blocks_ * kBlock, MADV_HUGEPAGE);
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
    madvise(data_ + small_[i] * kBlock, kBlock, kCollapse);
  } while (Clock::now() < end);
}

}  // namespace zs
