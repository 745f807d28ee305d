// When the low copy of an expert stands for it, and when the full record takes its place
// (docs/adr/0013-low-copies.md).
#include <algorithm>

#include "experts/store.h"

namespace zs::experts {

// The experts that a prompt needs are worth their time, because each serves many tokens; what a
// prediction reads is there soon.
bool Store::low_serves(ExpertId id) const {
  if (!has_low() || many_) return false;
  const Expert& expert = experts_[id];
  if (expert.state == State::Absent) return true;
  return expert.upgrade && expert.state == State::Reading && experts_[low_of(id)].resident;
}

// An expert whose low copy is still there when it is demanded again is one that comes often; and
// while there is room, every one is to be there in full.
bool Store::deserves_full(ExpertId id) {
  if (experts_[id].state != State::Absent) return false;
  const Shelf& shelf = size_of(id).shelf;
  return experts_[low_of(id)].resident || shelf.residents() < shelf.room();
}

// Its full record is to be read when nothing more urgent is.
void Store::want_full(ExpertId id) {
  if (!deserves_full(id)) return;
  if (std::find(upgrades_.begin(), upgrades_.end(), id) == upgrades_.end()) upgrades_.push_back(id);
}

// One at a time: what is demanded next must not find the drive busy for long.
void Store::start_upgrade() {
  if (upgrading_ || upgrades_.empty()) return;
  std::erase_if(upgrades_, [this](ExpertId id) { return !deserves_full(id); });
  const auto best = std::max_element(upgrades_.begin(), upgrades_.end(),
                                     [this](ExpertId a, ExpertId b) { return key(a) < key(b); });
  if (best == upgrades_.end() || !start_read(*best, true)) return;
  Expert& expert = experts_[*best];
  expert.predicted = expert.ahead = false;  // it is read behind demands, but nobody foretold it
  expert.upgrade = upgrading_ = true;
  upgrades_.erase(best);
}

// The full record has come, and nobody waits for it.
void Store::upgraded(ExpertId id) {
  if (!earns_place(id)) {
    waste(id);
    drop(id);
    return;
  }
  ++stats_.upgrades;
  make_resident(id);
}

// Whether it is a low copy whose full record has come while it was in use.
bool Store::outdone(ExpertId id) const {
  return is_low(id) && experts_[id - low_begin_].resident;
}

// What is in memory in full needs no low copy. One in use goes when it has been finished.
void Store::drop_low_copy(ExpertId id) {
  if (!has_low() || is_low(id)) return;
  const Expert& low = experts_[low_of(id)];
  if (low.resident && !low.demanded) drop(low_of(id));
}

}  // namespace zs::experts
