// Memory for experts of one size: slots, who owns them, and which one to give up next.
//
// Slots lie one behind the other, and many share a huge page, which the kernel keeps whole until
// the last of them is given back. So what is given back is the end: what lies there is moved.
#pragma once

#include <atomic>
#include <limits>
#include <vector>

#include "base/aligned.h"
#include "base/backing.h"
#include "experts/layout.h"

namespace zs::experts {

class Shelf {
 public:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  // `shadow` of the slots are kept for reads under way: at most count - shadow are resident.
  // Pages come from NUMA node `node`, if it is not negative. Not `backed`: what the slots hold is
  // elsewhere, and gone as soon as they are free.
  Shelf(size_t slot_bytes, size_t count, size_t shadow, int node, bool backed);

  // On all threads: gives the first slots their memory, up to so many. What is not filled gets it
  // as it is used.
  void fill(size_t slots);
  size_t fillable() const { return backed_ ? fresh_end_ : 0; }
  // After filling, by one thread.
  void filled() { backing_.finish(); }
  // Whether small pages of slots are left to be joined; and joins them for about as long as given,
  // on any thread, between steps.
  bool split() const { return backing_.split(); }
  void join(Backing::Clock::duration time);

  size_t slot_bytes() const { return slot_bytes_; }
  size_t bytes() const { return owner_.size() * slot_bytes_; }  // of all slots, retired ones too
  size_t count() const { return usable_; }
  size_t room() const { return usable_ - shadow_; }  // for residents
  size_t residents() const { return residents_; }
  size_t free() const { return free_.size() + (fresh_end_ - fresh_); }
  // Bytes of slots in use or to be used for which the system has not given memory yet.
  size_t unbacked() const;
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

  // The last slot that is free or settled, nearly always the last of all; kNone if there is none.
  uint32_t last() const;
  // Moves a settled expert to a free slot, which is returned. There must be one.
  uint32_t move(uint32_t slot);
  // Gives a free slot back to the system, the last(); or takes the one that went last into use
  // again, false if there is none.
  void retire(uint32_t slot);
  bool restore();
  bool may_retire() const { return usable_ > 2 * shadow_; }
  size_t retired_bytes() const { return (owner_.size() - usable_) * slot_bytes_; }

 private:
  static constexpr float kBusy = std::numeric_limits<float>::infinity();

  size_t slot_bytes_, shadow_;
  bool backed_;
  size_t usable_;         // not retired
  size_t residents_ = 0;  // settled or held
  AlignedBuffer memory_;
  Backing backing_;
  std::atomic<uint32_t> filled_{0};  // slots that have their memory, or are about to
  std::vector<ExpertId> owner_;
  std::vector<float> keys_;     // of settled slots; others kBusy
  std::vector<bool> resident_;  // of each slot
  std::vector<bool> gone_;      // of each slot: it is among the retired
  enum class Memory : uint8_t { None, Given, TakenBack };
  std::vector<Memory> memory_of_;         // each slot; None: it has some if it is filled
  std::vector<uint32_t> free_, retired_;  // that were in use before
  // Slots that were never in use; those from fresh_end_ on are retired.
  uint32_t fresh_ = 0, fresh_end_;
};

}  // namespace zs::experts
