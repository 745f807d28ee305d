// Memory for experts of one size: slots, who owns them, and which one to give up next.
#pragma once

#include <atomic>
#include <limits>
#include <thread>
#include <vector>

#include "base/aligned.h"
#include "base/backing.h"
#include "experts/layout.h"

namespace zs::experts {

class Shelf {
 public:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  // `shadow` of the slots are kept for reads under way: at most count - shadow are resident.
  // Pages come from NUMA node `node`, if it is not negative.
  Shelf(size_t slot_bytes, size_t count, size_t shadow, int node);
  ~Shelf();

  size_t slot_bytes() const { return slot_bytes_; }
  size_t bytes() const { return memory_.size(); }  // of all slots, retired ones too
  size_t count() const { return usable_; }
  size_t room() const { return usable_ - shadow_; }  // for residents
  size_t residents() const { return residents_; }
  size_t free() const { return free_.size(); }
  uint8_t* at(uint32_t slot) { return memory_.data() + slot * slot_bytes_; }

  // A free slot, now owned by `id`; kNone if there is none.
  uint32_t take(ExpertId id);
  void give_back(uint32_t slot);
  ExpertId owner(uint32_t slot) const { return owner_[slot]; }

  // A slot becomes that of a resident expert, which may go when others deserve more than `key`.
  void settle(uint32_t slot, float key);
  // A resident expert is in use: its slot stays until it settles again.
  void hold(uint32_t slot);
  // The resident with the lowest key that is not in use and whose owner is allowed(); kNone if
  // there is none. The caller, who knows its owner, gives it back.
  template <class Allowed>
  uint32_t least(Allowed&& allowed) const {
    uint32_t best = kNone;
    float lowest = kBusy;
    for (uint32_t slot = 0; slot < keys_.size(); ++slot) {
      if (keys_[slot] < lowest && allowed(owner_[slot])) {
        best = slot;
        lowest = keys_[slot];
      }
    }
    return best;
  }
  float key(uint32_t slot) const { return keys_[slot]; }

  // Gives the memory of free slots back to the system, or takes such slots into use again.
  // Returns how many changed.
  size_t retire(size_t slots);
  size_t restore(size_t slots);

 private:
  static constexpr float kBusy = std::numeric_limits<float>::infinity();

  size_t slot_bytes_, shadow_;
  size_t usable_;         // not retired
  size_t residents_ = 0;  // settled or held
  AlignedBuffer memory_;
  Backing backing_;
  std::vector<ExpertId> owner_;
  std::vector<float> keys_;     // of settled slots; others kBusy
  std::vector<bool> resident_;  // of each slot
  std::vector<uint32_t> free_, retired_;
  // Pages come from the system at a few GB/s at best, so a thread of its own stays some slots
  // ahead of take(); it sleeps when it is.
  void fill();
  std::atomic<size_t> fill_to_;  // bytes; kStop: the thread ends
  std::thread filler_;
};

}  // namespace zs::experts
