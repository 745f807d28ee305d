// How many slots there are when the system's memory gets short, or comes free again.
#include <algorithm>

#include "experts/store.h"

namespace zs::experts {
namespace {

// How often memory is looked at, what must be left (a part of the budget, and what Python and the
// kernel may take until the next look), and the part of the time since the last look in which
// everybody waiting for memory is too much.
constexpr auto kAdaptInterval = std::chrono::milliseconds(100);
constexpr size_t kLeastRoomPart = 128;
constexpr size_t kLeastRoom = size_t{4} << 20;
constexpr double kMostWaiting = 0.2;

// Memory is looked at after so much has been filled, or a slot that is larger.
constexpr size_t kFillStep = size_t{16} << 20;

// What a shelf has now of what it had at first.
double part_left(const Shelf& shelf) {
  return static_cast<double>(shelf.count() * shelf.slot_bytes()) /
         static_cast<double>(shelf.bytes());
}

}  // namespace

void Store::adapt_in_time() {
  const auto time = now();
  if (time - adapted_ <= kAdaptInterval) return;
  adapted_ = time;
  adapt();
}

// The kernel kills before it asks, so some room is always left, beside what slots will take that
// have no memory yet.
void Store::adapt() {
  if (options_.pace) return;
  const auto left = memory_room_.bytes();
  if (!left) return;
  const int64_t room = *left - static_cast<int64_t>(unbacked_bytes());
  const auto least = static_cast<int64_t>(least_room());
  const bool waiting = pressed();
  if (room < least || waiting) {
    shrink(static_cast<size_t>(std::max(2 * least - room, least)));
  } else if (room > 3 * least) {
    grow(static_cast<size_t>(room - 2 * least));
  }
}

bool Store::pressed() {
  const auto time = now();
  const uint64_t waited = memory_room_.waited_us();
  const double passed = std::chrono::duration<double, std::micro>(time - waited_at_).count();
  const bool first = waited_at_ == io::Clock::time_point();
  const double since = first ? 0 : static_cast<double>(waited - waited_us_);
  waited_at_ = time;
  waited_us_ = waited;
  return since > kMostWaiting * passed;
}

void Store::fill(ThreadPool& pool, const std::function<void(size_t, size_t)>& progress) {
  const auto fillable = [](const Size& size) {
    return size.shelf.fillable() * size.shelf.slot_bytes();
  };
  size_t all = 0, done = 0;
  for (const Size& size : sizes_) all += fillable(size);
  for (Size& size : sizes_) {
    Shelf& shelf = size.shelf;
    const size_t step = std::max<size_t>(kFillStep / shelf.slot_bytes(), 1);
    for (size_t end = 0; end < shelf.fillable();) {
      const auto left = memory_room_.bytes();
      if (left && *left < static_cast<int64_t>(step * shelf.slot_bytes() + least_room())) {
        shelf.filled();
        return;
      }
      end = std::min(end + step, shelf.fillable());
      pool.run([&](int) { shelf.fill(end); });
      progress(done + end * shelf.slot_bytes(), all);
    }
    shelf.filled();
    done += fillable(size);
  }
}

bool Store::split() const {
  return std::any_of(sizes_.begin(), sizes_.end(),
                     [](const Size& size) { return size.shelf.split(); });
}

void Store::join(ThreadPool& pool, Backing::Clock::time_point until) {
  for (Size& size : sizes_) {
    const auto left = until - Backing::Clock::now();
    if (!size.shelf.split() || left <= left.zero()) continue;
    pool.run([&](int) { size.shelf.join(left); });
  }
}

size_t Store::least_room() const {
  return std::max(options_.bytes / kLeastRoomPart, kLeastRoom);
}

size_t Store::unbacked_bytes() const {
  size_t bytes = 0;
  for (const Size& size : sizes_) bytes += size.shelf.unbacked();
  return bytes;
}

// From the size that has most of what it had, so that all keep their share.
void Store::shrink(size_t bytes) {
  std::vector<Size*> sizes;
  for (Size& size : sizes_) sizes.push_back(&size);
  for (size_t given = 0; given < bytes && !sizes.empty();) {
    const auto most = std::max_element(sizes.begin(), sizes.end(), [](Size* a, Size* b) {
      return part_left(a->shelf) < part_left(b->shelf);
    });
    if (retire_slot(**most)) {
      given += (*most)->shelf.slot_bytes();
    } else {
      sizes.erase(most);
    }
  }
}

bool Store::retire_slot(Size& size) {
  Shelf& shelf = size.shelf;
  if (!shelf.may_retire()) return false;
  const auto drop_least = [&] {
    const uint32_t least = shelf.least([](ExpertId) { return true; });
    if (least == Shelf::kNone) return;
    stats_.evictions += !size.low;
    drop(shelf.owner(least));
  };
  if (shelf.residents() >= shelf.room()) drop_least();
  while (shelf.free() == 0 && (drop_a_deferred(size) || drop_a_prediction(size))) {
  }
  // What was given up may keep its slots until it arrives.
  if (shelf.free() == 0) drop_least();
  if (shelf.free() == 0) return false;
  const uint32_t slot = shelf.last();
  if (const ExpertId id = shelf.owner(slot); id != Shelf::kNone)
    experts_[id].slot = shelf.move(slot);
  shelf.retire(slot);
  return true;
}

// To the size that has least of what it had.
void Store::grow(size_t bytes) {
  std::vector<Size*> sizes;
  for (Size& size : sizes_) sizes.push_back(&size);
  while (!sizes.empty()) {
    const auto least = std::min_element(sizes.begin(), sizes.end(), [](Size* a, Size* b) {
      return part_left(a->shelf) < part_left(b->shelf);
    });
    Shelf& shelf = (*least)->shelf;
    if (shelf.slot_bytes() <= bytes && shelf.restore()) {
      bytes -= shelf.slot_bytes();
    } else {
      sizes.erase(least);
    }
  }
}

}  // namespace zs::experts
