// What an operator is: built once from its spec, then run by all threads together.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "experts/options.h"
#include "experts/store.h"
#include "graph/attrs.h"
#include "graph/tape.h"
#include "graph/weights.h"
#include "kernels/table.h"
#include "kv/cache.h"

namespace zs::experts {
class States;
}

namespace zs::graph {

struct TrainedGuess;

// Consecutive tokens of the batch that continue one sequence.
struct Run {
  int sequence = 0;
  size_t begin = 0, count = 0;  // in the batch
  int64_t first_position = 0;
};

// One step of the tape over a batch of tokens; what every thread sees.
struct Step {
  const kernels::Table* kernels = nullptr;
  ThreadPool* pool = nullptr;
  kv::KvCache* kv = nullptr;
  // Memory is that of several nodes: with few tokens a thread stays in the part of each matrix that
  // its node holds.
  bool by_node = false;
  size_t tokens = 0;
  const int32_t* ids = nullptr;        // tokens
  const int32_t* positions = nullptr;  // tokens
  const std::vector<Run>* runs = nullptr;
  const int32_t* rows = nullptr;  // batch rows whose logits are wanted
  size_t row_count = 0;
  float* logits = nullptr;  // [row_count, vocab]
  float* const* buffers = nullptr;
  uint8_t* shared = nullptr;                  // scratch of the running operator
  uint8_t* const* private_ = nullptr;         // scratch of each thread
  std::atomic<uint32_t>* counters = nullptr;  // zero at the start, one used per dynamic phase
  experts::Store* experts = nullptr;          // where experts are streamed
  experts::States* states = nullptr;          // where guesses are recorded
  std::function<bool()> interrupted;          // whether the caller wants the step to end
  // Set by thread 0, seen by all behind the next barrier: the step ends with this operator.
  bool given_up = false;
  std::exception_ptr failure;  // why, if not because of interrupted()

  // Thread 0: runs what may throw where nothing may.
  template <class Fn>
  void guard(Fn&& fn) {
    try {
      fn();
    } catch (...) {
      failure = std::current_exception();
      given_up = true;
    }
  }
};

// One thread's view of a step.
struct Worker {
  Step& step;
  int thread;
  int threads;
  uint32_t counters_used = 0;  // moves alike on all threads

  const kernels::Table& kernels() const { return *step.kernels; }
  // Thread 0 looks after reads that are under way, wherever it has a moment.
  void poll() {
    if (thread == 0 && step.experts) step.experts->poll();
  }
  float* buffer(int index) const { return step.buffers[index]; }
  uint8_t* scratch() const { return step.private_[thread]; }
  void barrier() { step.pool->barrier(); }
  Range share(size_t count) const { return zs::share(count, thread, threads); }
  // A work counter that all threads of this phase take chunks from.
  std::atomic<uint32_t>& counter() { return step.counters[counters_used++]; }

  // Calls part(begin, end) until none of `count` items is left to any thread. Parts are long at
  // first, for streams of memory that the hardware reads ahead, then shorter, down to `least`, so
  // that threads end together though other programs slow some of them.
  template <class Part>
  void take(size_t count, size_t least, Part&& part) {
    auto& next = counter();
    poll();
    uint32_t begin = next.load(std::memory_order_relaxed);
    while (begin < count) {
      const size_t left = count - begin;
      const size_t n = std::min(left, std::max(least, left / (2 * size_t(threads))));
      const auto end = static_cast<uint32_t>(begin + n);
      if (!next.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      part(size_t{begin}, size_t{end});
      poll();
      begin = next.load(std::memory_order_relaxed);
    }
  }
};

class Op {
 public:
  virtual ~Op() = default;
  // Called by every thread at once. A barrier follows it; within it, worker.barrier() orders
  // phases. Every thread must make the same number of barrier() and counter() calls.
  virtual void run(Worker& worker) const = 0;
  // Whether there is nothing to run; the same for as long as it lives.
  virtual bool idle() const { return false; }
  // Scratch that all threads share, and that each has alone, in bytes.
  virtual size_t shared_scratch() const { return 0; }
  virtual size_t private_scratch() const { return 0; }
};

// At most this many dynamic phases in one operator.
inline constexpr uint32_t kCountersPerOp = 4;

// What an operator may ask for while it is built.
class BuildContext {
 public:
  BuildContext(const TapeSpec& tape, size_t index, WeightStore& store,
               std::vector<kv::LayerShape>& shapes, size_t token_limit, size_t row_limit,
               size_t context_length)
      : attrs(tape.ops[index], index),
        weights(store),
        layers(shapes),
        max_tokens(token_limit),
        max_rows(row_limit),
        context(context_length),
        tape_(tape),
        spec_(tape.ops[index]) {}

  Attrs attrs;
  WeightStore& weights;
  std::vector<kv::LayerShape>& layers;  // attention operators register their cache layer
  const size_t max_tokens;              // of a batch
  const size_t max_rows;                // of logits in a step
  const size_t context;                 // positions of a sequence
  size_t vocab = 0;                     // set by the logits operator
  size_t embeddings = 0;                // rows, set by the embed operator
  const std::vector<TrainedGuess>* trained = nullptr;  // what a speculator file brought

  // Checks the number of inputs, outputs and weights. Throws InvalidRequest.
  void arity(size_t inputs, size_t outputs, size_t weights_min, size_t weights_max) const;
  int input(size_t i) const { return spec_.inputs[i]; }
  int output(size_t i) const { return spec_.outputs[i]; }
  size_t output_count() const { return spec_.outputs.size(); }
  size_t weight_count() const { return spec_.weights.size(); }
  size_t input_width(size_t i) const { return tape_.widths[input(i)]; }
  size_t output_width(size_t i) const { return tape_.widths[output(i)]; }
  bool has_weight(size_t i) const {
    return i < spec_.weights.size() && !spec_.weights[i].name.empty();
  }
  const WeightRef& weight(size_t i) const { return spec_.weights[i]; }
  const PackedMatrix& matrix(size_t i, size_t rows, size_t columns) {
    return weights.matrix(need_weight(i), attrs.where(), rows, columns);
  }
  const PackedExperts& experts(size_t i, size_t count, size_t rows, size_t columns) {
    return weights.experts(need_weight(i), attrs.where(), count, rows, columns);
  }
  // nullptr where the weight is absent.
  const float* vector(size_t i, size_t length) {
    return has_weight(i) ? weights.vector(spec_.weights[i], attrs.where(), length) : nullptr;
  }
  const float* vectors(size_t i, size_t count, size_t length) {
    return has_weight(i) ? weights.vectors(spec_.weights[i], attrs.where(), count, length)
                         : nullptr;
  }
  void expect_width(size_t width, size_t expected, const char* what) const;
  // nullptr where there is none.
  const TrainedGuess* trained_guess(size_t layer, experts::Guess stage) const;

 private:
  const WeightRef& need_weight(size_t i) const;
  const TapeSpec& tape_;
  const OpSpec& spec_;
};

using MakeOp = std::unique_ptr<Op> (*)(BuildContext& build);
// nullptr for a kind that is not in ops.inc.
MakeOp find_op(const std::string& kind);

#define ZS_OP(kind) std::unique_ptr<Op> make_##kind(BuildContext& build);
#include "graph/ops.inc"
#undef ZS_OP

}  // namespace zs::graph
