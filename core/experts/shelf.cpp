// Slots in one reservation, taken in order so that pages come only as they are needed.
#include "experts/shelf.h"

#include <algorithm>

#include "cpu/node_memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace zs::experts {
namespace {

constexpr size_t kSlotsAhead = 64;
constexpr size_t kStop = std::numeric_limits<size_t>::max();

}  // namespace

Shelf::Shelf(size_t slot_bytes, size_t count, size_t shadow, int node)
    : slot_bytes_(slot_bytes),
      shadow_(shadow),
      usable_(count),
      memory_(slot_bytes * count, "the memory for experts"),
      backing_(memory_.data(), memory_.size(), 2),
      owner_(count, kNone),
      keys_(count, kBusy),
      resident_(count, false),
      fill_to_(0) {
  // A node that may not be used leaves the choice to the kernel.
  if (node >= 0) cpu::prefer_node(memory_.data(), memory_.size(), node);
  free_.reserve(count);
  for (size_t i = count; i-- > 0;) free_.push_back(static_cast<uint32_t>(i));
  fill_to_ = std::min(kSlotsAhead, count) * slot_bytes;
  filler_ = std::thread([this] { fill(); });
}

uint32_t Shelf::take(ExpertId id) {
  if (free_.empty()) return kNone;
  const uint32_t slot = free_.back();
  free_.pop_back();
  owner_[slot] = id;
  const size_t end = (slot + 1) * slot_bytes_;
  const size_t ahead = std::min(end + kSlotsAhead * slot_bytes_, memory_.size());
  if (ahead > fill_to_.load(std::memory_order_relaxed)) {
    fill_to_.store(ahead, std::memory_order_relaxed);
    fill_to_.notify_one();
  }
  backing_.fill(0, end);
  return slot;
}

Shelf::~Shelf() {
  fill_to_.store(kStop);
  fill_to_.notify_one();
  filler_.join();
}

void Shelf::fill() {
  for (size_t done = 0;;) {
    fill_to_.wait(done);
    const size_t end = fill_to_.load();
    if (end == kStop) return;
    backing_.fill(1, end);
    done = end;
  }
}

void Shelf::give_back(uint32_t slot) {
  if (resident_[slot]) --residents_;
  resident_[slot] = false;
  keys_[slot] = kBusy;
  owner_[slot] = kNone;
  free_.push_back(slot);
}

void Shelf::settle(uint32_t slot, float key) {
  if (!resident_[slot]) ++residents_;
  resident_[slot] = true;
  keys_[slot] = key;
}

void Shelf::hold(uint32_t slot) {
  keys_[slot] = kBusy;
}

size_t Shelf::retire(size_t slots) {
  size_t done = 0;
  while (done < slots && !free_.empty() && usable_ > 2 * shadow_) {
    const uint32_t slot = free_.back();
    free_.pop_back();
    retired_.push_back(slot);
    --usable_;
    ++done;
#if defined(__linux__)
    madvise(at(slot), slot_bytes_, MADV_DONTNEED);
#endif
  }
  return done;
}

size_t Shelf::restore(size_t slots) {
  size_t done = 0;
  for (; done < slots && !retired_.empty(); ++done) {
    free_.push_back(retired_.back());
    retired_.pop_back();
    ++usable_;
  }
  return done;
}

}  // namespace zs::experts
