// Slots in one reservation, taken in order: those that were not filled get their pages then.
#include "experts/shelf.h"

#include <algorithm>

#include "cpu/node_memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace zs::experts {

namespace {

// Slots that may begin on huge pages: each then takes two of the 65,530 mappings that the kernel
// allows a process (vm.max_map_count).
constexpr size_t kMostApart = 16384;

// The kernel keeps the whole of a huge page until the last part of it is given back, so slots
// share none: those that can hold one begin on one, and the last pages of each are small. What
// lies between is never used.
size_t stride_of(size_t slot_bytes, size_t count) {
  return slot_bytes < kHugeBlock || count > kMostApart ? slot_bytes
                                                       : round_up(slot_bytes, kHugeBlock);
}

}  // namespace

Shelf::Shelf(size_t slot_bytes, size_t count, size_t shadow, int node, bool backed)
    : slot_bytes_(slot_bytes),
      shadow_(shadow),
      backed_(backed),
      usable_(count),
      stride_(stride_of(slot_bytes, count)),
      memory_(stride_ * count, "the memory for experts", stride_ > slot_bytes),
      fillers_(kFillers),
      owner_(count, kNone),
      keys_(count, kBusy),
      resident_(count, false),
      memory_of_(count, Memory::None),
      fresh_end_(static_cast<uint32_t>(count)) {
  prefer_small(memory_.data(), memory_.size());
  // A node that may not be used leaves the choice to the kernel.
  if (node >= 0) cpu::prefer_node(memory_.data(), memory_.size(), node);
  free_.reserve(count);
}

void Shelf::fill(int thread, size_t slots) {
  const size_t huge = stride_ == slot_bytes_ ? 0 : slot_bytes_ / kHugeBlock * kHugeBlock;
  for (uint32_t slot; (slot = filled_.load(std::memory_order_relaxed)) < slots;) {
    if (!filled_.compare_exchange_weak(slot, slot + 1)) continue;
    uint8_t* begin = at(slot);
    for (size_t i = 0; i < huge; i += kHugeBlock) fillers_[thread].fill(begin + i);
    fill_pages(begin + huge, slot_bytes_ - huge);
  }
}

uint32_t Shelf::take(ExpertId id) {
  uint32_t slot = kNone;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else if (fresh_ < fresh_end_) {
    slot = fresh_++;
    if (backed_) fill(0, fresh_);
  }
  if (slot == kNone) return kNone;
  owner_[slot] = id;
  memory_of_[slot] = Memory::Given;
  return slot;
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

size_t Shelf::unbacked() const {
  if (!backed_) return free() * slot_bytes_;
  const uint32_t filled = filled_.load(std::memory_order_relaxed);
  const auto without = [&](uint32_t slot) {
    return memory_of_[slot] == Memory::TakenBack ||
           (memory_of_[slot] == Memory::None && slot >= filled);
  };
  auto slots = static_cast<size_t>(std::count_if(free_.begin(), free_.end(), without));
  for (uint32_t slot = fresh_; slot < fresh_end_; ++slot) slots += without(slot);
  return slots * slot_bytes_;
}

bool Shelf::retire() {
  if (free() == 0 || !may_retire()) return false;
  uint32_t slot;
  if (fresh_ < fresh_end_) {
    slot = --fresh_end_;
  } else {
    slot = free_.back();
    free_.pop_back();
    retired_.push_back(slot);
  }
  memory_of_[slot] = Memory::TakenBack;
  --usable_;
#if defined(__linux__)
  madvise(at(slot), slot_bytes_, MADV_DONTNEED);
#endif
  return true;
}

bool Shelf::restore() {
  if (!retired_.empty()) {
    // Behind those that have memory.
    free_.insert(free_.begin(), retired_.back());
    retired_.pop_back();
  } else if (fresh_end_ < owner_.size()) {
    ++fresh_end_;
  } else {
    return false;
  }
  ++usable_;
  return true;
}

}  // namespace zs::experts
