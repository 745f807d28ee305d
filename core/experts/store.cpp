// Demand, arrival and residency; store_reads.cpp has what concerns the drive, store_memory.cpp what
// the system's memory leaves.
#include "experts/store.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "cpu/node_memory.h"
#include "quant/format.h"

namespace zs::experts {
namespace {

// Slots for reads under way: enough to keep a deep queue busy, few enough to cost no hits.
constexpr size_t kSlotsPerShadow = 24;
constexpr size_t kMostShadow = 64;
// Low copies get room for one of so many experts where experts get room for all.
constexpr size_t kExpertsPerLowSlot = 8;
// What the first layers chose for each token takes at most this part of the memory for experts.
constexpr size_t kHabitsPart = 128;
// A step of more tokens than this is a prompt's: most experts of a layer are wanted.
constexpr size_t kDecodeTokens = 8;
// How often reads are looked at in a layer of the simulated clock.
constexpr int kPolls = 16;

// The most that one expert's raw rows take, read in whole pages.
size_t staging_bytes(const Layer& layer) {
  if (layer.record) return 0;
  size_t total = 0;
  for (const Part& part : layer.parts) {
    total += round_up(part.bytes, io::kReadAlign) + 2 * io::kReadAlign;
  }
  return total;
}

// Experts of one size, over all layers.
struct SizeClass {
  size_t slot_bytes, staging;
  bool low;              // of low copies: none need be resident
  size_t experts = 0;    // that may be resident
  size_t used = 0;       // by one token, in all layers
  size_t most_used = 0;  // in one layer

  size_t shadow(size_t slots) const {
    return std::clamp(slots / kSlotsPerShadow, most_used, std::max(kMostShadow, most_used));
  }
  size_t bytes(size_t slots) const { return slots * slot_bytes + shadow(slots) * staging; }
  // All experts of one token are resident, and there are slots to read into.
  size_t least() const {
    size_t slots = used + most_used;
    while (slots - shadow(slots) < used) ++slots;
    return bytes(slots);
  }
  size_t all() const { return bytes(experts + std::max(kMostShadow, most_used)); }
  size_t slots_in(size_t budget) const {
    size_t slots = budget / slot_bytes;
    while (slots > 0 && bytes(slots) > budget) --slots;
    return std::min(slots, experts + shadow(slots));
  }
};

// `of_layer`: the class of each layer, low ones last.
std::vector<SizeClass> classify(const std::vector<Layer>& layers, const std::vector<Layer>& low,
                                std::vector<uint8_t>* of_layer) {
  std::vector<SizeClass> classes;
  const auto add = [&](const Layer& layer, bool is_low) {
    const size_t staging = staging_bytes(layer);
    auto it = std::find_if(classes.begin(), classes.end(), [&](const SizeClass& c) {
      return c.slot_bytes == layer.slot_bytes && c.staging == staging && c.low == is_low;
    });
    if (it == classes.end()) it = classes.insert(it, {layer.slot_bytes, staging, is_low});
    it->experts +=
        is_low ? (layer.experts + kExpertsPerLowSlot - 1) / kExpertsPerLowSlot : layer.experts;
    it->used += is_low ? 0 : layer.used;
    it->most_used = std::max(it->most_used, layer.used);
    if (of_layer) of_layer->push_back(static_cast<uint8_t>(it - classes.begin()));
  };
  for (const Layer& layer : layers) add(layer, false);
  for (const Layer& layer : low) add(layer, true);
  return classes;
}

}  // namespace

size_t bytes_of_all(const std::vector<Layer>& layers, const std::vector<Layer>& low) {
  size_t total = 0;
  for (const SizeClass& c : classify(layers, low, nullptr)) total += c.all();
  return total;
}

size_t least_bytes(const std::vector<Layer>& layers, const std::vector<Layer>& low) {
  size_t total = 0;
  for (const SizeClass& c : classify(layers, low, nullptr)) total += c.least();
  return total;
}

Store::Store(std::vector<Layer> layers, const std::vector<Layer>& low,
             std::unique_ptr<io::ReadQueue> queue, const Options& options)
    : layers_(std::move(layers)),
      count_(layers_.size()),
      queue_(std::move(queue)),
      options_(options),
      scores_(0, options.policy, options.half_life),
      speculator_(count_),
      drift_(layers_),
      memory_room_(options.memory_root) {
  const std::vector<SizeClass> classes = classify(layers_, low, &size_of_);
  const size_t least = least_bytes(layers_, low), all = bytes_of_all(layers_, low);
  if (options.bytes < least) {
    throw Error(ErrorKind::OutOfBudget, "experts get " + std::to_string(options.bytes) +
                                            " bytes, but one token needs " + std::to_string(least) +
                                            ": give more RAM");
  }
  if (options.speculate) {
    habits_ = Habits(layers_, std::min(options.bytes / kHabitsPart, options.bytes - least));
    habits_.restore(options.habits);
  }
  layers_.insert(layers_.end(), low.begin(), low.end());
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (i == count_) low_begin_ = static_cast<ExpertId>(layer_of_.size());
    first_.push_back(layer_of_.size());
    layer_of_.insert(layer_of_.end(), layers_[i].experts, static_cast<uint16_t>(i));
  }
  if (!has_low()) low_begin_ = static_cast<ExpertId>(layer_of_.size());
  experts_.resize(layer_of_.size());
  named_.resize(low_begin_);
  scores_ = Scores(low_begin_, options.policy, options.half_life);
  // What is beyond the least goes to the sizes as their experts need it.
  const size_t beyond = options.bytes - habits_.bytes() - least;
  const double share = all > least ? std::min(1.0, double(beyond) / (all - least)) : 1;
  for (const SizeClass& c : classes) {
    const size_t slots = c.slots_in(c.least() + static_cast<size_t>(share * (c.all() - c.least())));
    // Where the file is mapped, records are used where they lie.
    const bool backed = c.staging > 0 || !queue_->reader().mapping(0);
    sizes_.emplace_back(c.slot_bytes, slots, c.shadow(slots), c.staging, options.node, c.low,
                        backed);
  }
  finished_.resize(64);
  scores_.restore(options.profile);
}

// Reads under way end before their memory goes.
Store::~Store() {
  queue_.reset();
}

Store::Size::Size(size_t slot_bytes, size_t slots, size_t shadow, size_t staging_each, int node,
                  bool of_low, bool backed)
    : shelf(slot_bytes, slots, shadow, node, backed), low(of_low), staging_bytes(staging_each) {
  if (staging_each == 0) return;
  staging = AlignedBuffer(shadow * staging_each, "experts being read");
  // Beside the slots, where the threads that read fill it and those that pack find it.
  if (node >= 0) cpu::prefer_node(staging.data(), staging.size(), node);
  for (size_t i = 0; i < shadow; ++i) free_staging.push_back(static_cast<uint32_t>(i));
}

size_t Store::memory_bytes() const {
  size_t bytes = habits_.bytes();
  for (const Size& size : sizes_) bytes += size.shelf.bytes() + size.staging.size();
  return bytes;
}

void Store::next_step(std::span<const int32_t> ids) {
  ++step_;
  many_ = ids.size() > kDecodeTokens;
  ids_.assign(ids.begin(), ids.end());
  limit_speculation();
  scores_.next_step();
  const uint64_t bytes = queue_->bytes_read(), ns = busy_ns();
  speculator_.read(bytes - bytes_before_, ns - ns_before_);
  bytes_before_ = bytes;
  ns_before_ = ns;
  if (many_ || habits_.layers() == 0) return;
  predict(0, {}, Guess::Late);
  start_predicted();
}

// By the simulated clock; as in a real layer, reads ahead go on meanwhile.
void Store::pass_layer() {
  for (int part = 0; part < kPolls; ++part) {
    queue_->reader().pass(options_.pace->layer / kPolls);
    queue_->poll();
  }
}

void Store::begin_layer(size_t layer) {
  if (options_.pace) pass_layer();
  adapt_in_time();
  speculator_.demand_begins(layer, now(), many_);
  running_ = layer;
  started_ = false;
  limit_speculation();
  wishes_.clear();
  const auto named = named_.begin() + static_cast<ptrdiff_t>(first_[layer]);
  stats_.predicted += static_cast<uint64_t>(
      std::count(named, named + static_cast<ptrdiff_t>(layers_[layer].experts), true));
}

// Whatever stands for it must be there: reads it, or keeps it where it is.
Outcome Store::need(ExpertId id) {
  Expert& expert = experts_[id];
  expert.demanded = true;
  Outcome outcome = Outcome::Shadow;
  if (expert.state == State::Absent) {
    outcome = Outcome::Miss;
    waiting_.push_back(id);
  } else if (expert.resident) {
    outcome = Outcome::Hit;
    size_of(id).shelf.hold(expert.slot);
  } else if (expert.predicted) {
    expert.predicted = false;
    std::erase(predictions_, id);
    speculator_.judge(expert.rank, true);
  } else if (expert.deferred) {
    end_deferral(id, queue_->defer(id * kTagParts, false));
  } else if (expert.failed) {
    outcome = Outcome::Miss;  // some of it must be read again
  }
  if (expert.state == State::Resident || expert.state == State::Raw) {
    ready_.push_back(id);
  } else {
    ++wanted_;
    if (expert.state == State::Reading) urgent_.push_back(id);
  }
  return outcome;
}

void Store::demand(uint32_t number, size_t tokens) {
  const ExpertId id = id_of(running_, number);
  scores_.demand(id, tokens);
  if (named_[id]) ++stats_.foreseen;
  Outcome outcome = Outcome::Miss;
  if (low_serves(id)) {
    ++stats_.low_used;
    want_full(id);
    need(low_of(id));
  } else {
    outcome = need(id);
  }
  ++stats_.demanded;
  ++(outcome == Outcome::Hit      ? stats_.hits
     : outcome == Outcome::Shadow ? stats_.shadow_hits
                                  : stats_.misses);
  if (options_.trace) {
    trace_.push_back({step_, static_cast<uint16_t>(running_), static_cast<uint16_t>(number),
                      static_cast<uint32_t>(tokens), outcome});
  }
}

void Store::start() {
  if (std::exchange(started_, true)) return;
  limit_speculation();
  forget_predictions(running_);
  for (const ExpertId id : urgent_) hurry(id);
  urgent_.clear();
  // A later demand must not find the names of a prediction for this one.
  std::fill_n(named_.begin() + static_cast<ptrdiff_t>(first_[running_]), layers_[running_].experts,
              false);
  std::reverse(waiting_.begin(), waiting_.end());
  start_waiting();
  if (wanted_ == 0) idle_begins();
}

size_t Store::collect(std::span<Arrival> arrivals, std::chrono::microseconds timeout) {
  take_finished(std::chrono::microseconds(0));
  if (ready_.empty() && wanted_ > 0) {
    start_waiting();
    const auto begun = now();
    take_finished(timeout);
    stats_.stall_ns += std::chrono::nanoseconds(now() - begun).count();
  }
  size_t count = 0;
  for (; count < arrivals.size() && !ready_.empty(); ++count) {
    arrivals[count] = arrival(ready_.back());
    ready_.pop_back();
    ++held_;
  }
  return count;
}

// Where an expert that has a slot is.
uint8_t* Store::memory_of(ExpertId id) {
  const Layer& layer = layers_[layer_of(id)];
  if (!in_place(layer)) return size_of(id).shelf.at(experts_[id].slot);
  return const_cast<uint8_t*>(queue_->reader().mapping(layer.file)) + record_at(id);
}

Store::Arrival Store::arrival(ExpertId id) {
  const Expert& expert = experts_[id];
  const Layer& layer = layers_[layer_of(id)];
  Size& size = size_of(id);
  Arrival arrival{static_cast<uint32_t>(id - first_[layer_of(id)]), memory_of(id), {}, is_low(id)};
  if (expert.state != State::Raw) return arrival;
  const uint8_t* staging = size.staging.data() + expert.staging * size.staging_bytes;
  for (size_t p = 0; p < Layer::kParts; ++p) {
    const Part& part = layer.parts[p];
    const uint64_t offset = part.offset + arrival.expert * part.bytes;
    arrival.raw[p] = staging + staged_at(layer, p) + offset % io::kReadAlign;
  }
  return arrival;
}

void Store::pack(size_t layer, const Arrival& arrival, size_t part_index, size_t panel_begin,
                 size_t panel_end) const {
  const Part& part = layers_[layer].parts[part_index];
  const auto& traits = quant::traits(part.format);
  const size_t row_bytes = quant::row_bytes(part.format, part.columns);
  const size_t panel = quant::panel_bytes(part.format, part.columns);
  for (size_t p = panel_begin; p < panel_end; ++p) {
    const size_t row = p * quant::kPanelRows;
    traits.pack(arrival.raw[part_index] + row * row_bytes, row_bytes,
                static_cast<int>(std::min<size_t>(quant::kPanelRows, part.rows - row)),
                part.columns / traits.block_values, arrival.slot + part.packed_at + p * panel);
  }
}

// It stays until others deserve its place more.
void Store::make_resident(ExpertId id) {
  Expert& expert = experts_[id];
  Size& size = size_of(id);
  if (expert.staging != Shelf::kNone) size.free_staging.push_back(expert.staging);
  expert.staging = Shelf::kNone;
  expert.state = State::Resident;
  expert.predicted = false;
  expert.resident = true;
  size.shelf.settle(expert.slot, key(id));
  if (size.shelf.residents() + size.deferred.size() > size.shelf.room()) drop_a_deferred(size);
  drop_low_copy(id);
}

// Whether there is room for it to stay; a resident that deserves its place less makes some.
bool Store::earns_place(ExpertId id) {
  Shelf& shelf = size_of(id).shelf;
  if (shelf.residents() < shelf.room()) return true;
  // In a prompt, experts of later layers have not had their demand of this step yet: they are
  // not to be compared.
  const uint32_t least =
      shelf.least([&](ExpertId owner) { return !many_ || layer_of(owner) <= running_; });
  if (least == Shelf::kNone || shelf.key(least) > key(id)) return false;
  if (!is_low(id)) ++stats_.evictions;
  drop(shelf.owner(least));
  return true;
}

void Store::finish(size_t layer, uint32_t number) {
  if (options_.pace) queue_->reader().pass(options_.pace->expert);
  ExpertId id = id_of(layer, number);
  if (has_low() && experts_[low_of(id)].demanded) id = low_of(id);
  Expert& expert = experts_[id];
  expert.demanded = false;
  --held_;
  if (!outdone(id) && (expert.resident || earns_place(id))) {
    make_resident(id);
  } else {
    drop(id);
  }
  start_waiting();
}

void Store::reset() {
  for (const ExpertId id : waiting_) experts_[id].demanded = false;
  waiting_.clear();
  urgent_.clear();
  ready_.clear();
  wishes_.clear();
  for (ExpertId id = 0; id < experts_.size(); ++id) {
    Expert& expert = experts_[id];
    if (!expert.demanded) continue;
    expert.demanded = false;
    if (expert.resident) {
      size_of(id).shelf.settle(expert.slot, key(id));
    } else if (expert.state != State::Reading) {
      drop(id);  // what is being read goes when it arrives
    }
  }
  wanted_ = 0;
  held_ = 0;
  started_ = true;
}

Stats Store::stats() const {
  Stats stats = stats_;
  stats.read_ns = busy_ns();
  const io::CacheCounters cache = queue_->reader().cache_counters();
  stats.prefetched_bytes = cache.prefetched_bytes;
  stats.released_bytes = cache.released_bytes;
  for (const Size& size : sizes_) {
    stats.given += size.shelf.retired_bytes();
    if (size.low) continue;
    stats.slots += size.shelf.count();
    stats.resident += size.shelf.residents();
  }
  return stats;
}

}  // namespace zs::experts
