// From a tape to operators, in order.
#include "graph/program.h"

#include <algorithm>

#include "base/error.h"
#include "experts/store.h"

namespace zs::graph {
namespace {

// Logits of one step take at most this many bytes, and at least one row.
constexpr size_t kLogitsBytes = size_t{64} << 20;
constexpr int kMaxThreads = 1024;
constexpr size_t kMaxContext = size_t{1} << 24;  // positions are floats in RoPE: exact up to here
constexpr size_t kMaxKvTokens = size_t{1} << 30;

[[noreturn]] void invalid(const std::string& what) {
  throw Error(ErrorKind::InvalidRequest, what);
}

// Before anything is built from them.
const EngineOptions& checked(const EngineOptions& options) {
  if (options.threads < 1 || options.threads > kMaxThreads) {
    invalid("threads must be 1 to " + std::to_string(kMaxThreads));
  }
  if (options.context < 1 || options.context > kMaxContext) {
    invalid("context must be 1 to " + std::to_string(kMaxContext));
  }
  if (options.kv_tokens > kMaxKvTokens) {
    invalid("kv_tokens must be at most " + std::to_string(kMaxKvTokens));
  }
  if (options.max_batch < 1 || options.max_batch > kernels::kMaxTokens) {
    invalid("max_batch must be 1 to " + std::to_string(kernels::kMaxTokens));
  }
  return options;
}

// Rows of logits a step can give; the vocabulary is the last weight's rows.
size_t logits_rows(const gguf::File& file, const TapeSpec& tape, size_t max_batch) {
  size_t vocab = 1;
  if (!tape.ops.empty() && !tape.ops.back().weights.empty()) {
    const auto* tensor = file.find(tape.ops.back().weights[0].name);
    if (tensor) vocab = std::max<size_t>(1, tensor->dims[1]);
  }
  return std::clamp<size_t>(kLogitsBytes / (vocab * sizeof(float)), 1, max_batch);
}

}  // namespace

Program::Program(std::shared_ptr<const gguf::File> file, TapeSpec tape,
                 const EngineOptions& options)
    : file_(std::move(file)),
      tape_(std::move(tape)),
      options_(checked(options)),
      weights_(file_, options_.streaming(), options_.experts.low_copies),
      buffers_(plan_buffers(tape_, options_.max_batch)),
      max_rows_(logits_rows(*file_, tape_, options_.max_batch)) {
  for (size_t i = 0; i < tape_.ops.size(); ++i) {
    BuildContext context(tape_, i, weights_, layers_, options_.max_batch, max_rows_,
                         options_.context);
    context.trained = options_.trained.get();
    const MakeOp make = find_op(tape_.ops[i].kind);
    if (!make) context.attrs.fail("there is no such operator");
    ops_.push_back(make(context));
    context.attrs.finish();
    shared_ = std::max(shared_, round_up(ops_.back()->shared_scratch(), 64));
    private_ = std::max(private_, round_up(ops_.back()->private_scratch(), 4096));
    if (context.embeddings) token_limit_ = std::min(token_limit_, context.embeddings);
    if (context.vocab == 0) continue;
    if (i + 1 != tape_.ops.size()) context.attrs.fail("must be the last operator");
    vocab_ = context.vocab;
  }
  if (vocab_ == 0) invalid("the tape does not end with logits");
  options_.trained.reset();  // operators have packed it
}

Memory Program::memory() const {
  Memory m;
  m.weights = weights_.packed_bytes() + weights_.vector_bytes();
  m.buffers = buffers_.bytes;
  m.scratch = shared_ + private_ * options_.threads + max_rows_ * vocab_ * sizeof(float);
  m.experts = experts::bytes_of_all(weights_.expert_layers(), weights_.low_layers());
  m.least_experts = experts::least_bytes(weights_.expert_layers(), weights_.low_layers());
  m.kv_cache = kv::KvCache::bytes_for(layers_, options_.kv_type, options_.cache_tokens());
  return m;
}

}  // namespace zs::graph
