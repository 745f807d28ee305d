// What the store asks of the drive, and what comes back; store_guesses.cpp says what is read ahead.
#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>

#include "base/error.h"
#include "experts/record.h"
#include "experts/store.h"

namespace zs::experts {
// Where raw rows of a part lie in a staging buffer: on pages of their own.
size_t Store::staged_at(const Layer& layer, size_t part) {
  size_t at = 0;
  for (size_t p = 0; p < part; ++p) {
    at += round_up(layer.parts[p].bytes, io::kReadAlign) + 2 * io::kReadAlign;
  }
  return at;
}

bool Store::take_slot(ExpertId id, bool for_demand) {
  Size& size = size_of(id);
  Expert& expert = experts_[id];
  const auto need = [&] {
    return size.shelf.free() == 0 || (size.staging_bytes > 0 && size.free_staging.empty());
  };
  while (need() && (drop_a_deferred(size) || (for_demand && drop_a_prediction(size)))) {
  }
  if (need()) {
    // Slots come free as experts are finished and as dropped reads end; only when nothing of the
    // kind is left must a resident go.
    const bool staging_free = size.staging_bytes == 0 || !size.free_staging.empty();
    if (!for_demand || busy_ + held_ + ready_.size() > 0 || !staging_free) return false;
    const uint32_t least = size.shelf.least([](ExpertId) { return true; });
    if (least == Shelf::kNone) return false;
    stats_.evictions += !size.low;
    drop(size.shelf.owner(least));
  }
  expert.slot = size.shelf.take(id);
  if (size.staging_bytes > 0) {
    expert.staging = size.free_staging.back();
    size.free_staging.pop_back();
  }
  return true;
}

// What brings a part of an expert, or the whole if its file has records.
io::Record Store::read_of(ExpertId id, size_t p) {
  const Expert& expert = experts_[id];
  const Layer& layer = layers_[layer_of(id)];
  Size& size = size_of(id);
  const uint64_t number = id - first_[layer_of(id)];
  io::Record read;
  read.tag = id * kTagParts + static_cast<uint32_t>(p);
  read.speculative = expert.predicted;
  if (layer.record) {
    read.file = layer.file;
    read.offset = record_at(id);
    read.bytes = read.needed = layer.slot_bytes;
    read.primary = in_place(layer);
    read.out = read.primary ? nullptr : size.shelf.at(expert.slot);
    return read;
  }
  const Part& part = layer.parts[p];
  const uint64_t begin = part.offset + number * part.bytes;
  read.file = part.file;
  read.offset = begin / io::kReadAlign * io::kReadAlign;
  read.needed = begin + part.bytes - read.offset;
  read.bytes = round_up(read.needed, io::kReadAlign);
  read.out = size.staging.data() + expert.staging * size.staging_bytes + staged_at(layer, p);
  return read;
}

bool Store::start_read(ExpertId id, bool predicted) {
  if (!take_slot(id, !predicted)) return false;
  Expert& expert = experts_[id];
  expert.state = State::Reading;
  expert.predicted = expert.ahead = predicted;
  expert.failed = false;
  expert.parts_left = static_cast<uint8_t>(parts_of(id));
  ++busy_;
  for (size_t p = 0; p < parts_of(id); ++p) {
    const io::Record read = read_of(id, p);
    expert.bytes += static_cast<uint32_t>(read.bytes);
    queue_->read(read);
  }
  stats_.bytes_read += expert.bytes;
  if (is_low(id)) stats_.low_bytes += expert.bytes;
  return true;
}

void Store::hurry(ExpertId id) {
  for (uint32_t p = 0; p < Layer::kParts; ++p) queue_->promote(id * kTagParts + p);
}

void Store::start_waiting() {
  while (!waiting_.empty() && start_read(waiting_.back(), false)) waiting_.pop_back();
  if (!waiting_.empty()) return;
  start_predicted();
  start_upgrade();
}

void Store::take_finished(std::chrono::microseconds timeout) {
  const size_t count = queue_->collect(finished_, timeout);
  std::optional<Error> failure;
  for (size_t i = 0; i < count; ++i) {
    const io::Finished& finished = finished_[i];
    Expert& expert = experts_[finished.tag / kTagParts];
    if (finished.error != 0) {
      expert.failed = true;
      // A prediction that fails, or was given up, is no failure of the step; a demand tries again.
      if (expert.demanded && finished.error != ECANCELED && !failure) {
        failure = queue_->failure(finished);
      }
    }
    if (--expert.parts_left > 0) continue;
    const ExpertId id = finished.tag / kTagParts;
    const Layer& layer = layers_[layer_of(id)];
    if (layer.record && !expert.failed) {
      const auto number = static_cast<uint32_t>(id - first_[layer_of(id)]);
      const std::string fault = fault_of(memory_of(id), layer, number, options_.check_records);
      expert.failed = !fault.empty();
      if (expert.failed && of_mirror(finished, fault)) continue;
      if (expert.failed && expert.demanded && !failure) failure = damaged(id, fault);
    }
    arrived(id, failure.has_value());
  }
  if (failure) throw *failure;
}

// A record that is damaged in a mirror is read from the model itself, as is all that follows. False
// if it came from there.
bool Store::of_mirror(const io::Finished& finished, const std::string& fault) {
  constexpr uint64_t kPrimary = 1;
  if ((finished.copies & ~kPrimary) == 0) return false;
  const ExpertId id = finished.tag / kTagParts;
  Expert& expert = experts_[id];
  queue_->distrust(finished.copies, record_name(id) + ", " + fault);
  io::Record read = read_of(id, 0);
  read.primary = true;
  read.speculative = false;
  queue_->read(read);
  expert.parts_left = 1;
  expert.failed = false;
  expert.bytes += static_cast<uint32_t>(read.bytes);
  stats_.bytes_read += read.bytes;
  if (is_low(id)) stats_.low_bytes += read.bytes;
  return true;
}

std::string Store::record_name(ExpertId id) const {
  const size_t number = id - first_[layer_of(id)];
  return std::string(is_low(id) ? "low copy" : "record") + " of expert " + std::to_string(number) +
         " at byte " + std::to_string(record_at(id));
}

Error Store::damaged(ExpertId id, const std::string& fault) const {
  return Error(ErrorKind::ModelFormat, queue_->path(layers_[layer_of(id)].file) + ": " +
                                           record_name(id) + ", " + fault +
                                           "; the file is damaged: convert the model again");
}

void Store::arrived(ExpertId id, bool step_fails) {
  Expert& expert = experts_[id];
  --busy_;
  const bool failed = expert.failed;
  if (expert.upgrade) upgrading_ = false;
  expert.state = layers_[layer_of(id)].record ? State::Resident : State::Raw;
  if (expert.demanded) {
    // What failed before it was demanded was no failure of the step.
    if (failed && !step_fails) return read_again(id);
    if (--wanted_ == 0) idle_begins();
    if (!failed) {
      ready_.push_back(id);
      return;
    }
  }
  if (expert.upgrade && !failed) return upgraded(id);
  if (expert.deferred) {
    end_deferral(id, 0);
    if (keep(id)) return;
  }
  if (failed || !expert.predicted) {
    if (expert.predicted) std::erase(predictions_, id);
    waste(id);
    drop(id);
  }
}

// Of a demanded expert less than all came.
void Store::read_again(ExpertId id) {
  waste(id);
  drop(id);
  experts_[id].demanded = true;
  waiting_.push_back(id);
}

void Store::waste(ExpertId id) {
  stats_.wasted += experts_[id].ahead;
  stats_.bytes_wasted += experts_[id].bytes;
}

// The expert is no longer in memory; nothing reads into its slot.
void Store::drop(ExpertId id) {
  Expert& expert = experts_[id];
  Size& size = size_of(id);
  size.shelf.give_back(expert.slot);
  const Layer& layer = layers_[layer_of(id)];
  if (in_place(layer)) queue_->reader().release(layer.file, record_at(id), layer.slot_bytes);
  if (expert.staging != Shelf::kNone) size.free_staging.push_back(expert.staging);
  const uint8_t rank = expert.rank;
  expert = Expert();
  expert.rank = rank;
}

void Store::drop_in_place() {
  for (ExpertId id = 0; id < experts_.size(); ++id) {
    if (experts_[id].state != State::Resident || !in_place(layers_[layer_of(id)])) continue;
    std::erase(predictions_, id);
    drop(id);
  }
}

// Ends a prediction; false while its bytes are on their way: then its slot comes free later.
bool Store::cancel(ExpertId id) {
  Expert& expert = experts_[id];
  expert.predicted = false;
  if (expert.state == State::Reading) {
    for (size_t p = 0; p < parts_of(id); ++p) {
      const auto cancelled = queue_->cancel(id * kTagParts + static_cast<uint32_t>(p));
      expert.parts_left -= cancelled.gone;
      expert.bytes -= static_cast<uint32_t>(cancelled.unread);
      stats_.bytes_read -= cancelled.unread;
      // It may be demanded before the rest has come, and is then not whole.
      expert.failed |= cancelled.unread > 0;
    }
    if (expert.parts_left > 0) return false;
    --busy_;
    if (expert.bytes == 0) {
      --stats_.speculated;
    } else {
      waste(id);
    }
  } else {
    waste(id);
  }
  drop(id);
  return true;
}

void Store::warm(const std::function<void(size_t, size_t)>& progress) {
  std::vector<ExpertId> order;
  for (ExpertId id = 0; id < low_begin_; ++id) {
    if (scores_.key(id) > Scores::kNever && experts_[id].state == State::Absent) {
      order.push_back(id);
    }
  }
  std::sort(order.begin(), order.end(), [this](ExpertId a, ExpertId b) {
    return scores_.key(a) != scores_.key(b) ? scores_.key(a) > scores_.key(b) : a < b;
  });
  std::vector<size_t> room;
  for (const Size& size : sizes_) room.push_back(size.shelf.room() - size.shelf.residents());
  for (size_t next = 0; next < order.size() || !predictions_.empty();) {
    for (; next < order.size(); ++next) {
      size_t& left = room[size_of_[layer_of(order[next])]];
      if (left == 0) continue;
      if (!start_read(order[next], true)) break;
      experts_[order[next]].ahead = false;  // no guess that could prove useless
      hurry(order[next]);
      predictions_.push_back(order[next]);
      --left;
    }
    progress(next, order.size());
    if (predictions_.empty()) break;
    take_finished(std::chrono::seconds(1));
    std::erase_if(predictions_, [this](ExpertId id) {
      if (experts_[id].state == State::Reading) return false;
      const Layer& layer = layers_[layer_of(id)];
      const Arrival from = arrival(id);
      for (size_t p = 0; p < Layer::kParts && from.raw[p]; ++p) {
        pack(layer_of(id), from, p, 0, layer.parts[p].panels());
      }
      make_resident(id);
      return true;
    });
  }
}

}  // namespace zs::experts
