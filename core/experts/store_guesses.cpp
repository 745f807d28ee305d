// What the store reads ahead of its demand, as far as it pays.
#include <algorithm>
#include <limits>

#include "experts/store.h"

namespace zs::experts {
namespace {

// Reads ahead wait while so much is under way, when a token is decoded, as the drive reads in this
// time: less leaves it idle, more delays what is demanded (docs/adr/0007).
constexpr double kFlightNs = 0.9e6;
// And not in less than what so many requests take, one after the other: a drive that answers late
// is idle with one under way.
constexpr double kFlightRequests = 1.25;
// The drive's speed is not known before the first token is done.
constexpr double kFirstFlight = 3 << 20, kLeastFlight = 64 << 10, kMostFlight = 8 << 20;

}  // namespace

void Store::idle_begins() {
  speculator_.idle_begins((running_ + 1) % count_, now());
}

// What is read ahead may be in the way of what is demanded by so much; while a layer says what it
// demands, nothing more of it begins.
void Store::limit_speculation() {
  size_t most = std::numeric_limits<size_t>::max();
  if (!many_) {
    const std::chrono::duration<double, std::nano> quickest = queue_->quickest();
    const double flight =
        speculator_.bytes_at_best(std::max(kFlightNs, kFlightRequests * quickest.count()));
    most = static_cast<size_t>(flight == 0 ? kFirstFlight
                                           : std::clamp(flight, kLeastFlight, kMostFlight));
  }
  queue_->limit_speculation(started_ ? most : 0);
}

// What `layer` is likely to want, at the end of the wishes: what was guessed, and what its tokens
// have wanted before, the ones that come true more often first.
void Store::wish(size_t layer, std::span<const uint32_t> guessed, Guess guess) {
  struct Candidate {
    ExpertId id;
    size_t rank;
  };
  std::vector<Candidate> candidates;
  if (!many_ && layer < habits_.layers()) {
    size_t rank = Speculator::habit_ranks(layer);
    for (size_t place = 0; place < layers_[layer].used; ++place) {
      for (const int32_t token : ids_) {
        const auto known = habits_.of(layer, token);
        if (place >= known.size()) continue;
        candidates.push_back({id_of(layer, known[place]), rank});
      }
      rank += rank + 1 < Speculator::habit_ranks(layer + 1);
    }
  }
  const size_t habits = candidates.size();
  const size_t base = Speculator::ranks(guess);
  for (size_t i = 0; i < guessed.size(); ++i) {
    candidates.push_back({id_of(layer, guessed[i]), base + std::min(i, Speculator::kRanks - 1)});
  }
  if (habits > 0 && !guessed.empty()) {
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](const Candidate& a, const Candidate& b) {
                       return speculator_.odds(a.rank) > speculator_.odds(b.rank);
                     });
  }
  const auto names = named_.begin() + static_cast<ptrdiff_t>(first_[layer]);
  std::fill_n(names, layers_[layer].experts, false);
  size_t left = std::max(habits, guessed.size());  // to be named
  const auto begin = static_cast<ptrdiff_t>(wishes_.size());
  for (const Candidate& candidate : candidates) {
    Expert& expert = experts_[candidate.id];
    if (left > 0 && !named_[candidate.id]) {
      named_[candidate.id] = true;
      --left;
    }
    if ((expert.state != State::Absent && !expert.deferred) || !options_.speculate) continue;
    if (std::find(wishes_.begin() + begin, wishes_.end(), candidate.id) != wishes_.end()) continue;
    expert.rank = static_cast<uint8_t>(candidate.rank);
    wishes_.push_back(candidate.id);
  }
}

void Store::learn(size_t layer, std::span<const int32_t> chosen) {
  const size_t used = chosen.size() / ids_.size();
  if (layer >= habits_.layers()) return;
  for (size_t t = 0; t < ids_.size(); ++t) {
    habits_.learn(layer, ids_[t], chosen.subspan(t * used, used));
  }
}

void Store::predict(size_t layer, std::span<const uint32_t> experts, Guess guess) {
  wishes_.clear();
  wish(layer, experts, guess);
  // Of layers that follow, habits tell something already.
  for (size_t later = layer + 1; !many_ && later < habits_.layers(); ++later) {
    wish(later, {}, guess);
  }
  std::reverse(wishes_.begin(), wishes_.end());
  window_bytes_ = speculator_.window_bytes(guess, layer, many_);
  if (guess == Guess::Early) return;
  speculator_.late_begins(layer, now());
  // What early guesses have begun is in the way.
  window_bytes_ -= static_cast<double>(busy_ * layers_[layer].slot_bytes);
}

void Store::start_predicted() {
  for (; !wishes_.empty(); wishes_.pop_back()) {
    const ExpertId id = wishes_.back();
    const Expert& expert = experts_[id];
    if (expert.state != State::Absent && !expert.deferred) continue;
    const auto bytes = static_cast<double>(layers_[layer_of(id)].slot_bytes);
    if (!speculator_.worth(expert.rank, window_bytes_ >= bytes)) continue;
    if (expert.deferred) {
      resume(id);
    } else {
      if (!start_read(id, true)) return;
      ++stats_.speculated;
    }
    predictions_.push_back(id);
    window_bytes_ -= bytes;
  }
}

bool Store::drop_a_prediction(const Size& size) {
  for (size_t i = 0; i < predictions_.size(); ++i) {
    const ExpertId id = predictions_[i];
    if (&size_of(id) != &size) continue;
    predictions_.erase(predictions_.begin() + static_cast<ptrdiff_t>(i));
    if (cancel(id)) return true;
    --i;
  }
  return false;
}

void Store::forget_predictions(size_t layer) {
  std::erase_if(predictions_, [&](ExpertId id) {
    if (layer_of(id) != layer) return false;
    speculator_.judge(experts_[id].rank, false);
    if (!keep(id)) cancel(id);
    return true;
  });
}

// While slots are empty, an expert that was read for nothing, or in part, is read on when the drive
// has nothing else to do, and stays: what a router nearly chose it often chooses soon.
bool Store::keep(ExpertId id) {
  Expert& expert = experts_[id];
  Size& size = size_of(id);
  const bool whole = expert.state == State::Resident;
  if (expert.failed || is_low(id) || !layers_[layer_of(id)].record) return false;
  if (size.shelf.residents() + size.deferred.size() >= size.shelf.room()) return false;
  expert.predicted = false;
  if (!whole) {
    expert.deferred = true;
    size.deferred.push_back(id);
    expert.uncounted = static_cast<uint32_t>(queue_->defer(id * kTagParts));
    expert.bytes -= expert.uncounted;
    stats_.bytes_read -= expert.uncounted;
  }
  waste(id);
  // What is counted as wasted stays so, also if the expert is wanted later.
  expert.ahead = false;
  expert.bytes = 0;
  if (whole) make_resident(id);
  return true;
}

// It is predicted again.
void Store::resume(ExpertId id) {
  end_deferral(id, queue_->defer(id * kTagParts, false));
  experts_[id].predicted = experts_[id].ahead = true;
  ++stats_.speculated;
}

// What was read meanwhile is counted as wasted, the rest as that of any other expert.
void Store::end_deferral(ExpertId id, size_t unread) {
  Expert& expert = experts_[id];
  expert.deferred = false;
  std::erase(size_of(id).deferred, id);
  stats_.bytes_read += expert.uncounted;
  stats_.bytes_wasted += expert.uncounted - unread;
  expert.bytes = static_cast<uint32_t>(unread);
  expert.uncounted = 0;
}

// Makes room; false if there is nothing of the kind.
bool Store::drop_a_deferred(Size& size) {
  if (size.deferred.empty()) return false;
  const ExpertId id = size.deferred.front();
  Expert& expert = experts_[id];
  const auto cancelled = queue_->cancel(id * kTagParts);
  end_deferral(id, cancelled.unread);
  stats_.bytes_read -= cancelled.unread;
  expert.bytes = 0;
  expert.failed |= cancelled.unread > 0;
  // Else its slot comes free when the last bytes arrive.
  if (cancelled.gone) {
    --busy_;
    drop(id);
  }
  return true;
}

}  // namespace zs::experts
