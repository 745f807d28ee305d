// Thread 0 talks to the store between waves, while the others wait at a barrier.
#include "graph/expert_waves.h"

#include <algorithm>
#include <array>

#include "experts/store.h"

namespace zs::graph {
namespace {

constexpr size_t kMostInWave = 64;
constexpr auto kPollInterval = std::chrono::milliseconds(20);
// Dynamic phases of one wave: packing is shared evenly, GatedFfn::run has two.
constexpr uint32_t kCountersPerWave = 2;

}  // namespace

struct ExpertWaves::Wave {
  size_t done, count;  // groups computed, and in this wave after them
  bool last;           // nothing follows: all is done, or the step given up
  std::array<experts::Store::Arrival, kMostInWave> arrivals;
};

ExpertWaves::ExpertWaves(size_t layer, const PackedMatrix& gate, const PackedMatrix& up,
                         const PackedMatrix& down, const experts::Layer* low)
    : layer_(layer), gate_(gate), up_(up), down_(down), has_low_(low != nullptr) {
  if (!low) return;
  PackedMatrix* matrices[] = {&low_.gate, &low_.up, &low_.down};
  for (size_t p = 0; p < experts::Layer::kParts; ++p) {
    const experts::Part& part = low->parts[p];
    *matrices[p] = {part.format, part.rows, part.columns, nullptr};
  }
}

size_t ExpertWaves::shared_scratch() const {
  return sizeof(Wave);
}

void ExpertWaves::demand(Worker& worker, std::span<const GatedFfn::Group> groups,
                         uint8_t* memory) const {
  Wave& wave = *new (memory) Wave;
  wave.done = wave.count = 0;
  worker.step.guard([&] {
    experts::Store& store = *worker.step.experts;
    store.begin_layer(layer_);
    for (const GatedFfn::Group& group : groups) {
      store.demand(group.number, static_cast<uint32_t>(group.tokens));
    }
  });
}

// Brings the groups of what has arrived to the front of those left.
void ExpertWaves::next(Worker& worker, std::span<GatedFfn::Group> groups, Wave& wave) const {
  experts::Store& store = *worker.step.experts;
  for (size_t i = 0; i < wave.count; ++i) store.finish(layer_, groups[wave.done + i].number);
  wave.done += wave.count;
  wave.count = 0;
  while (wave.count == 0 && wave.done < groups.size()) {
    wave.count = store.collect(wave.arrivals, kPollInterval);
    if (wave.count == 0 && worker.step.interrupted()) {
      worker.step.given_up = true;
      return;
    }
  }
  for (size_t i = 0; i < wave.count; ++i) {
    const bool low = wave.arrivals[i].low;
    const experts::Layer& layer = low ? store.low_layer(layer_) : store.layer(layer_);
    const auto group =
        std::find_if(groups.begin() + wave.done + i, groups.end(),
                     [&](const GatedFfn::Group& g) { return g.number == wave.arrivals[i].expert; });
    std::swap(*group, groups[wave.done + i]);
    GatedFfn::Group& here = groups[wave.done + i];
    const uint8_t* slot = wave.arrivals[i].slot;
    here.gate = low ? low_.gate : gate_;
    here.up = low ? low_.up : up_;
    here.down = low ? low_.down : down_;
    here.gate.data = slot + layer.parts[0].packed_at;
    here.up.data = slot + layer.parts[1].packed_at;
    here.down.data = slot + layer.parts[2].packed_at;
  }
}

void ExpertWaves::pack(Worker& worker, const Wave& wave) const {
  const experts::Store& store = *worker.step.experts;
  const experts::Layer& layer = store.layer(layer_);
  bool raw = false;
  for (size_t i = 0; i < wave.count; ++i) {
    if (!wave.arrivals[i].raw[0]) continue;
    raw = true;
    for (size_t p = 0; p < experts::Layer::kParts; ++p) {
      const Range own = worker.share(layer.parts[p].panels());
      store.pack(layer_, wave.arrivals[i], p, own.begin, own.end);
    }
  }
  if (raw) worker.barrier();
}

void ExpertWaves::run(Worker& worker, const GatedFfn& ffn, const float* x,
                      std::span<GatedFfn::Group> groups, float* results, uint8_t* ffn_memory,
                      uint8_t* memory) const {
  Wave& wave = *reinterpret_cast<Wave*>(memory);
  const uint32_t counters = worker.counters_used;
  for (bool first = true;; first = false) {
    if (worker.thread == 0 && !worker.step.given_up) {
      worker.step.guard([&] {
        if (first && !worker.step.experts->any_ready()) worker.step.experts->start();
        next(worker, groups, wave);
      });
      for (uint32_t c = 0; c < kCountersPerWave; ++c) worker.step.counters[counters + c] = 0;
    }
    // Thread 0 may give the step up before others have come to ask: they ask for what it said
    // before the barrier, so that all take the same way.
    if (worker.thread == 0) wave.last = worker.step.given_up || wave.count == 0;
    worker.barrier();
    if (wave.last) return;
    worker.counters_used = counters;
    // While this thread asks for what is missing, the others begin with what is there.
    if (first && worker.thread == 0) worker.step.guard([&] { worker.step.experts->start(); });
    pack(worker, wave);
    ffn.run(worker, x, groups.subspan(wave.done, wave.count), results, ffn_memory, first);
    worker.barrier();
  }
}

}  // namespace zs::graph
