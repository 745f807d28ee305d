// Slots in one reservation, taken in order: those that were not filled get their pages then.
#include "experts/shelf.h"

#include <algorithm>
#include <cstring>

#include "cpu/node_memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace zs::experts {

Shelf::Shelf(size_t slot_bytes, size_t count, size_t shadow, int node, bool backed)
    : slot_bytes_(slot_bytes),
      shadow_(shadow),
      backed_(backed),
      usable_(count),
      memory_(slot_bytes * count, "the memory for experts"),
      backing_(memory_.data(), memory_.size()),
      owner_(count, kNone),
      keys_(count, kBusy),
      resident_(count, false),
      gone_(count, false),
      memory_of_(count, Memory::None),
      fresh_end_(static_cast<uint32_t>(count)) {
  // A node that may not be used leaves the choice to the kernel.
  if (node >= 0) cpu::prefer_node(memory_.data(), memory_.size(), node);
  free_.reserve(count);
}

void Shelf::fill(size_t slots) {
  uint32_t filled = filled_.load(std::memory_order_relaxed);
  while (filled < slots && !filled_.compare_exchange_weak(filled, static_cast<uint32_t>(slots))) {
  }
  backing_.fill(slots * slot_bytes_);
}

void Shelf::join(Backing::Clock::duration time) {
  // What has been given back must stay so.
  const auto gone = std::find(gone_.begin(), gone_.end(), true) - gone_.begin();
  const size_t slots = std::min<size_t>(gone, fresh_end_);
  backing_.join(time, slots * slot_bytes_);
}

uint32_t Shelf::take(ExpertId id) {
  uint32_t slot = kNone;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else if (fresh_ < fresh_end_) {
    slot = fresh_++;
    if (backed_) fill(fresh_);
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

uint32_t Shelf::last() const {
  for (uint32_t slot = fresh_end_; slot-- > 0;) {
    if (!gone_[slot] && (owner_[slot] == kNone || keys_[slot] != kBusy)) return slot;
  }
  return kNone;
}

uint32_t Shelf::move(uint32_t slot) {
  const uint32_t to = take(owner_[slot]);
  if (backed_) std::memcpy(at(to), at(slot), slot_bytes_);
  settle(to, keys_[slot]);
  give_back(slot);
  return to;
}

void Shelf::retire(uint32_t slot) {
  if (slot >= fresh_) {
    fresh_end_ = slot;
  } else {
    free_.erase(std::find(free_.begin(), free_.end(), slot));
    retired_.push_back(slot);
    gone_[slot] = true;
  }
  memory_of_[slot] = Memory::TakenBack;
  --usable_;
#if defined(__linux__)
  madvise(at(slot), slot_bytes_, MADV_DONTNEED);
#endif
}

bool Shelf::restore() {
  if (!retired_.empty()) {
    // Behind those that have memory.
    free_.insert(free_.begin(), retired_.back());
    gone_[retired_.back()] = false;
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
