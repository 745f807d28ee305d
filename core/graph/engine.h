// Compiles a tape and runs it: owns weights, buffers, cache and threads.
#pragma once

#include <chrono>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/thread_pool.h"
#include "experts/states.h"
#include "experts/store.h"
#include "gguf/file.h"
#include "graph/program.h"
#include "kernels/table.h"
#include "kv/cache.h"

namespace zs::graph {

class Engine {
 public:
  // `progress(done, total)` follows the packing in bytes; it may throw to give up.
  Engine(std::shared_ptr<const gguf::File> file, TapeSpec tape, const EngineOptions& options,
         const std::function<void(size_t, size_t)>& progress);

  // Sequences and their pages, between steps.
  kv::Sequences& sequences() { return kv_->sequences(); }
  // Writes a sequence's tokens, keys and values to a file, and a new sequence from one
  // (kv/state_file.h). A file is taken only by the model and settings that wrote it.
  void save_state(int sequence, const std::string& path);
  int load_state(const std::string& path);

  // Runs the tape over a batch: token i continues sequences[i]. Returns the logits of the batch
  // rows asked for, [rows, vocab], valid until the next step. `hidden` names the rows that hidden()
  // will be asked for; without rows of logits the head is not run. `interrupted` is polled every
  // few milliseconds; when it returns true the step stops with Interrupted. After any error the
  // sequences are as before the step.
  const float* step(std::span<const int32_t> tokens, std::span<const int32_t> sequences,
                    std::span<const int32_t> rows, std::span<const int32_t> hidden,
                    const std::function<bool()>& interrupted);
  // What the head reads of a row of the last step's batch: the state after the output norm,
  // [program().width()]. Valid until the next step.
  const float* hidden(int32_t row) const;

  // Joins the small pages that some weights were loaded into, because that was quicker, to huge
  // ones, which steps otherwise do little by little, and those of streamed experts. Takes about
  // `most` or less; returns whether nothing is left.
  bool settle(std::chrono::nanoseconds most);

  const Program& program() const { return program_; }
  int threads() const { return pool_.size(); }
  kernels::Isa isa() const { return kernels_->isa; }
  // Bytes of weights, slots of experts among them, whose memory was asked of each NUMA node; none
  // where it does not matter.
  std::map<int, size_t> node_bytes() const;
  // The experts, where they are streamed; nullptr where all are loaded. Between steps.
  experts::Store* experts() { return experts_.get(); }
  // What guesses were made of, where that is recorded; nullptr where it is not. Between steps.
  experts::States* states() { return states_.get(); }
  // Nanoseconds each operator has taken in all steps so far.
  const std::vector<uint64_t>& op_ns() const { return op_ns_; }
  uint64_t steps() const { return steps_; }

 private:
  std::vector<Run> runs(std::span<const int32_t> sequences) const;
  void check(std::span<const int32_t> tokens, std::span<const int32_t> sequences,
             std::span<const int32_t> rows, std::span<const int32_t> hidden) const;
  // Gives what steps write its pages now: in the first step threads would wait for them.
  void fill_memory();
  bool execute(Step& step);
  std::optional<Error> take_lost();
  uint64_t identity();

  Program program_;
  const kernels::Table* kernels_;
  ThreadPool pool_;
  std::vector<std::unique_ptr<gguf::Watch>> watches_;  // of the files
  std::unique_ptr<experts::Store> experts_;            // nullptr: all are loaded
  std::unique_ptr<experts::States> states_;            // nullptr: not recorded
  std::unique_ptr<kv::KvCache> kv_;
  std::optional<uint64_t> identity_;  // once it was asked for
  AlignedBuffer activations_, scratch_, logits_;
  std::vector<float*> buffers_;
  std::vector<uint8_t*> private_;
  std::unique_ptr<std::atomic<uint32_t>[]> counters_;
  std::vector<uint64_t> op_ns_;
  uint64_t steps_ = 0;
  Backing::Clock::duration joining_{0};  // time that steps may give to joining pages
};

}  // namespace zs::graph
