// The experts of a model that is larger than memory: which are resident, which are being read, and
// what to read next. Belongs to one thread; others only read the slots of experts that arrived,
// behind a barrier.
//
// An expert is absent, being read, raw (read, but not yet packed: files that are not converted) or
// resident. Reads go to shadow slots; an expert that proves wanted is promoted by keeping its slot,
// and the slot of the resident that deserves its place least becomes a shadow slot instead. So no
// bytes are copied, except where memory gets short, and a prediction never evicts.
//
// Low copies of experts, where they are used, are experts of layers of their own that follow the
// others, in slots of their own sizes; store_low.cpp says when one stands for its expert.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/memory_room.h"
#include "experts/drift.h"
#include "experts/habits.h"
#include "experts/layout.h"
#include "experts/options.h"
#include "experts/scores.h"
#include "experts/shelf.h"
#include "experts/speculator.h"
#include "io/read_queue.h"

namespace zs::experts {

// Bytes that `slots` experts of every size would take, and the least that work: those that one
// token needs, and as many reads under way as one layer needs. `low`: of the low copies of each
// layer's experts, or empty.
size_t bytes_of_all(const std::vector<Layer>& layers, const std::vector<Layer>& low);
size_t least_bytes(const std::vector<Layer>& layers, const std::vector<Layer>& low);

class Store {
 public:
  // `low` has as many layers, or none: then there are no low copies. Throws OutOfBudget when
  // options.bytes is less than least_bytes(layers, low).
  Store(std::vector<Layer> layers, const std::vector<Layer>& low,
        std::unique_ptr<io::ReadQueue> queue, const Options& options);
  ~Store();

  struct Arrival {
    uint32_t expert;
    uint8_t* slot;          // of the panels
    const uint8_t* raw[3];  // rows to pack into the slot first; nullptr: packed
    bool low;               // the panels are those of the low copy
  };

  // Of slots and of what is read to be packed into them.
  size_t memory_bytes() const;

  // A step over these tokens begins: what the first layers are likely to want is read.
  void next_step(std::span<const int32_t> ids);

  // What a layer needs, each expert once, with the number of tokens routed to it. start() then
  // begins the reads; experts that are there arrive at once.
  void begin_layer(size_t layer);
  void demand(uint32_t expert, size_t tokens);
  void start();
  // Takes demanded experts that are there now. While all of them are still being read it waits,
  // at most `timeout`; returns 0 then, and when none is left. Throws Storage if a read failed;
  // then reset() before the next step.
  size_t collect(std::span<Arrival> arrivals, std::chrono::microseconds timeout);
  // Whether collect() has something to give without waiting.
  bool any_ready() const { return !ready_.empty(); }
  // Keeps reads ahead going while the thread computes.
  void poll() noexcept { queue_->poll(); }
  // Packs panels of one part (0: gate, 1: up, 2: down) of an expert that arrived raw. Any thread.
  void pack(size_t layer, const Arrival& arrival, size_t part, size_t panel_begin,
            size_t panel_end) const;
  // An expert has been packed, where it came raw, and computed: its slot may go.
  void finish(size_t layer, uint32_t expert);
  // What `layer` is likely to demand next, the likeliest first; a later guess replaces an earlier.
  // start_predicted() and start() read what is worth it.
  void predict(size_t layer, std::span<const uint32_t> experts, Guess guess);
  void start_predicted();
  // What `layer` chose: as many experts for each token of the step.
  void learn(size_t layer, std::span<const int32_t> chosen);
  const Habits& habits() const { return habits_; }
  // Of guesses; behind a barrier for others to read.
  Drift& drift() { return drift_; }
  // After a step that ended early: nothing is demanded any more.
  void reset();

  // What is used where a file is mapped is read and checked anew: the file lost something. Nothing
  // may be demanded.
  void drop_in_place();

  // Gives slots their memory, on all threads, as long as the system has some to spare, so that
  // reads do not wait for pages. `progress(done, total)` counts bytes and may throw to give up.
  void fill(ThreadPool& pool, const std::function<void(size_t, size_t)>& progress);
  // Whether pages of slots are small that could be huge; and joins them until about that time.
  bool split() const;
  void join(ThreadPool& pool, Backing::Clock::time_point until);
  // Reads the experts of the highest scores, as far as there is room, and waits for them.
  // `progress(done, total)` counts experts and may throw to give up.
  void warm(const std::function<void(size_t, size_t)>& progress);

  const Options& options() const { return options_; }
  const Layer& layer(size_t index) const { return layers_[index]; }
  size_t layers() const { return count_; }
  bool has_low() const { return count_ < layers_.size(); }
  const Layer& low_layer(size_t index) const { return layers_[count_ + index]; }
  Scores& scores() { return scores_; }
  Stats stats() const;
  // Demands since the last call.
  std::vector<TraceEvent> take_trace() { return std::exchange(trace_, {}); }
  // For others to read with while no expert is under way.
  io::ReadQueue& queue() { return *queue_; }
  // Whether `expert` is in memory now.
  bool resident(size_t layer, size_t expert) const {
    return experts_[id_of(layer, expert)].state == State::Resident;
  }

  // Looks at how much memory the system leaves: lets slots go if that is too little, or takes them
  // back. Layers do so by themselves, ten times a second; for when nothing is computed.
  void adapt();

 private:
  enum class State : uint8_t { Absent, Reading, Raw, Resident };
  struct Expert {
    uint32_t slot = Shelf::kNone;
    uint32_t staging = Shelf::kNone;  // index, while Reading or Raw
    State state = State::Absent;
    uint8_t parts_left = 0;
    uint8_t rank = 0;        // of the prediction
    uint32_t bytes = 0;      // asked of the drive
    bool demanded = false;   // by the running layer, and not finished
    bool resident = false;   // settled; not a shadow
    bool predicted = false;  // read for a prediction that has not come true yet
    bool ahead = false;      // its read began for a prediction
    bool failed = false;     // of what is read a part failed or was cancelled
    bool upgrade = false;    // read to replace its low copy
    // Read on for an empty slot, though a prediction has not come true; so many bytes of it are
    // counted neither as read nor in `bytes`.
    bool deferred = false;
    uint32_t uncounted = 0;
  };
  // A read of the queue is a part of an expert; a record has one.
  static constexpr uint32_t kTagParts = 4;
  // Experts of one size.
  struct Size {
    Size(size_t slot_bytes, size_t slots, size_t shadow, size_t staging, int node, bool low,
         bool backed);
    Shelf shelf;
    bool low;              // of low copies
    size_t staging_bytes;  // of one expert's raw rows in whole pages; 0: read in place
    AlignedBuffer staging;
    std::vector<uint32_t> free_staging;
    std::vector<ExpertId> deferred;  // the oldest first
  };

  ExpertId id_of(size_t layer, size_t expert) const {
    return static_cast<ExpertId>(first_[layer] + expert);
  }
  io::Clock::time_point now() const { return queue_->reader().now(); }
  uint64_t busy_ns() const { return queue_->counters().busy_us * 1000; }
  size_t layer_of(ExpertId id) const { return layer_of_[id]; }
  Size& size_of(ExpertId id) { return sizes_[size_of_[layer_of_[id]]]; }
  // Low copies follow the experts, in the same order.
  bool is_low(ExpertId id) const { return id >= low_begin_; }
  ExpertId low_of(ExpertId id) const { return id + low_begin_; }
  float key(ExpertId id) const { return scores_.key(is_low(id) ? id - low_begin_ : id); }

  Outcome need(ExpertId id);
  bool earns_place(ExpertId id);
  bool low_serves(ExpertId id) const;
  bool deserves_full(ExpertId id);
  void want_full(ExpertId id);
  void start_upgrade();
  void upgraded(ExpertId id);
  bool outdone(ExpertId id) const;
  void drop_low_copy(ExpertId id);

  bool in_place(const Layer& layer) const {
    return layer.record && queue_->reader().mapping(layer.file);
  }
  // In its file.
  uint64_t record_at(ExpertId id) const {
    const Layer& layer = layers_[layer_of(id)];
    return layer.offset + (id - first_[layer_of(id)]) * layer.slot_bytes;
  }
  uint8_t* memory_of(ExpertId id);
  static size_t staged_at(const Layer& layer, size_t part);
  Arrival arrival(ExpertId id);
  void make_resident(ExpertId id);
  bool take_slot(ExpertId id, bool for_demand);
  io::Record read_of(ExpertId id, size_t part);
  bool start_read(ExpertId id, bool predicted);
  void wish(size_t layer, std::span<const uint32_t> guessed, Guess guess);
  void hurry(ExpertId id);
  void idle_begins();
  void pass_layer();
  void limit_speculation();
  void start_waiting();
  void adapt_in_time();
  bool pressed();
  void shrink(size_t bytes);
  void grow(size_t bytes);
  bool retire_slot(Size& size);
  size_t unbacked_bytes() const;
  size_t least_room() const;
  void take_finished(std::chrono::microseconds timeout);
  void arrived(ExpertId id, bool step_fails);
  void read_again(ExpertId id);
  size_t parts_of(ExpertId id) const { return layers_[layer_of(id)].record ? 1 : Layer::kParts; }
  bool of_mirror(const io::Finished& finished, const std::string& fault);
  std::string record_name(ExpertId id) const;
  Error damaged(ExpertId id, const std::string& fault) const;
  void waste(ExpertId id);
  void drop(ExpertId id);
  bool cancel(ExpertId id);
  bool keep(ExpertId id);
  void resume(ExpertId id);
  void end_deferral(ExpertId id, size_t unread);
  bool drop_a_deferred(Size& size);
  bool drop_a_prediction(const Size& size);
  void forget_predictions(size_t layer);

  std::vector<Layer> layers_;  // then those of low copies
  size_t count_;               // of layers without those
  std::unique_ptr<io::ReadQueue> queue_;
  Options options_;
  Scores scores_;
  Speculator speculator_;
  Habits habits_;
  Drift drift_;
  std::vector<int32_t> ids_;        // of the step
  std::vector<size_t> first_;       // expert 0 of each layer
  std::vector<uint16_t> layer_of_;  // of each expert
  std::vector<uint8_t> size_of_;    // of each layer
  std::deque<Size> sizes_;
  std::vector<Expert> experts_;
  ExpertId low_begin_ = 0;         // the low copy of expert 0; as many as experts if there are none
  std::vector<ExpertId> waiting_;  // demanded, no slot yet; the next one last
  std::vector<ExpertId> urgent_;   // demanded while being read ahead
  std::vector<ExpertId> ready_;    // demanded and there, not collected
  std::vector<ExpertId> predictions_;  // read or being read, the oldest first
  std::vector<ExpertId> wishes_;       // predicted, not begun; the likeliest last
  std::vector<ExpertId> upgrades_;     // wanted in full, not begun
  bool upgrading_ = false;             // one of them is being read
  double window_bytes_ = 0;            // of idle time that are left for them
  std::vector<bool> named_;            // by the last prediction for each layer
  size_t wanted_ = 0;                  // demanded, not arrived
  size_t busy_ = 0;                    // experts being read
  size_t held_ = 0;                    // demanded and there, not finished
  size_t running_ = 0;                 // layer
  bool started_ = true;                // the layer's reads have begun
  bool many_ = false;                  // the step is a prompt's
  cpu::MemoryRoom memory_room_;
  io::Clock::time_point adapted_;
  io::Clock::time_point waited_at_;  // when memory_room_.waited_us() was waited_us_
  uint64_t waited_us_ = 0;
  std::vector<io::Finished> finished_;
  std::vector<TraceEvent> trace_;
  Stats stats_;
  uint64_t bytes_before_ = 0, ns_before_ = 0;
  uint32_t step_ = 0;
};

}  // namespace zs::experts
