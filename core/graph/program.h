// A tape made ready to run: its operators, checked and bound to weights, and what memory they
// will take. Compiling packs and allocates nothing large, so it also answers "will it fit?".
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "experts/options.h"
#include "gguf/file.h"
#include "graph/op.h"
#include "graph/planner.h"
#include "graph/trained_guess.h"
#include "graph/weights.h"
#include "io/read_queue.h"
#include "kernels/table.h"
#include "kv/cache.h"

namespace zs::graph {

struct EngineOptions {
  int threads = 1;
  std::vector<int> cpus;   // the CPU that each thread stays on; empty: they may move
  std::vector<int> nodes;  // the NUMA node of each thread; empty: memory is the same to all
  bool uneven = false;     // whether some threads run on slower cores
  size_t context = 4096;   // positions of one sequence
  size_t max_batch = 512;  // tokens of one step, at most kernels::kMaxTokens
  size_t kv_tokens = 0;    // positions of all sequences together; 0: context
  kernels::KvType kv_type = kernels::KvType::F16;
  bool prefix_cache = true;  // sequences share the pages of prefixes that they have in common
  std::string isa;           // empty: the best the CPU has, or ZEROSTALL_ISA
  // Experts are read as they are needed, into so many bytes; 0: all are loaded.
  experts::Options experts;
  io::QueueOptions reads;                         // of experts; the paths are the model's
  size_t state_bytes = 0;                         // to record what guesses are made of; 0: not
  std::shared_ptr<const TrainedGuesses> trained;  // nullptr: none
  bool streaming() const { return experts.bytes > 0; }

  size_t cache_tokens() const { return kv_tokens > context ? kv_tokens : context; }
};

// Bytes.
struct Memory {
  size_t weights = 0;   // packed, and vectors; without experts that are streamed
  size_t buffers = 0;   // activations between operators
  size_t scratch = 0;   // inside operators, and logits
  size_t kv_cache = 0;  // reserved; committed as sequences grow
  // Experts that are streamed: what all of them would take, and the least that works.
  size_t experts = 0, least_experts = 0;
};

class Program {
 public:
  // Throws InvalidRequest (options, tape), ModelFormat or UnsupportedModel.
  Program(std::shared_ptr<const gguf::File> file, TapeSpec tape, const EngineOptions& options);

  const EngineOptions& options() const { return options_; }
  const TapeSpec& tape() const { return tape_; }
  const gguf::File& file() const { return *file_; }
  const std::vector<std::unique_ptr<Op>>& ops() const { return ops_; }
  const std::vector<kv::LayerShape>& layers() const { return layers_; }
  const BufferPlan& buffers() const { return buffers_; }
  WeightStore& weights() { return weights_; }
  const WeightStore& weights() const { return weights_; }
  size_t vocab() const { return vocab_; }
  // Of the state that the head reads.
  size_t width() const { return tape_.widths[tape_.ops.back().inputs[0]]; }
  size_t token_limit() const { return token_limit_; }  // ids are below it
  size_t max_rows() const { return max_rows_; }
  // Scratch that threads share, and that each has alone, enough for every operator.
  size_t shared_scratch() const { return shared_; }
  size_t private_scratch() const { return private_; }
  Memory memory() const;

 private:
  std::shared_ptr<const gguf::File> file_;
  TapeSpec tape_;
  EngineOptions options_;
  WeightStore weights_;
  BufferPlan buffers_;
  std::vector<std::unique_ptr<Op>> ops_;
  std::vector<kv::LayerShape> layers_;
  size_t vocab_ = 0, token_limit_ = std::numeric_limits<int32_t>::max(), max_rows_ = 0, shared_ = 0,
         private_ = 0;
};

}  // namespace zs::graph
