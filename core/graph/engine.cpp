// Load: build operators, plan buffers, pack weights. Step: every thread walks the tape.
#include "graph/engine.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "graph/identity.h"
#include "kernels/select.h"
#include "kv/state_file.h"

namespace zs::graph {
namespace {

// A drive is busier with several requests for one expert, and what was read ahead in vain is given
// up sooner (io/uring_reader.cpp has bandwidths). 8 bring no more than 4, and a token of an 18.5 GB
// model in 8 GB computed for 84 ms with them, for 81 with 4: each ends with an interrupt.
constexpr size_t kRequestsPerExpert = 4;

using Clock = std::chrono::steady_clock;

// Steps give this share of their time to joining pages, once it is enough for a page.
constexpr int kJoinShare = 20;
constexpr auto kJoinTime = std::chrono::milliseconds(5);
constexpr auto kPollInterval = std::chrono::milliseconds(20);

[[noreturn]] void invalid(const std::string& what) {
  throw Error(ErrorKind::InvalidRequest, what);
}

const kernels::Table& kernels_for(const std::string& isa) {
  return isa.empty() ? kernels::select() : kernels::table_named(isa);
}

bool many_nodes(const EngineOptions& options) {
  const auto& nodes = options.nodes;
  return std::any_of(nodes.begin(), nodes.end(), [&](int node) { return node != nodes[0]; });
}

// Of each file what lies before its first tensor.
std::vector<uint64_t> heads_of(const gguf::File& file) {
  std::vector<uint64_t> heads(file.paths().size(), 0);
  for (const auto& tensor : file.container_version() ? file.stored() : file.tensors()) {
    uint64_t& head = heads[static_cast<size_t>(tensor.shard)];
    head = head == 0 ? tensor.offset : std::min(head, tensor.offset);
  }
  return heads;
}

}  // namespace

Engine::Engine(std::shared_ptr<const gguf::File> file, TapeSpec tape, const EngineOptions& options,
               const std::function<void(size_t, size_t)>& progress)
    : program_(std::move(file), std::move(tape), options),
      kernels_(&kernels_for(options.isa)),
      pool_(options.threads, options.cpus),
      watches_(program_.file().watch()) {
  const size_t count = program_.ops().size();
  activations_ = AlignedBuffer(program_.buffers().bytes, "activations");
  for (const size_t offset : program_.buffers().offsets) {
    buffers_.push_back(reinterpret_cast<float*>(activations_.data() + offset));
  }
  const size_t shared = program_.shared_scratch(), each = program_.private_scratch();
  scratch_ = AlignedBuffer(shared + each * pool_.size(), "scratch");
  for (int t = 0; t < pool_.size(); ++t) private_.push_back(scratch_.data() + shared + t * each);
  logits_ = AlignedBuffer(program_.max_rows() * program_.vocab() * sizeof(float), "logits");
  kv_ = std::make_unique<kv::KvCache>(program_.layers(), options.kv_type, options.cache_tokens(),
                                      options.context, options.prefix_cache);
  counters_ = std::make_unique<std::atomic<uint32_t>[]>(count * kCountersPerOp);
  op_ns_.assign(count, 0);
  if (options.streaming() && !program_.weights().expert_layers().empty()) {
    io::QueueOptions reads = options.reads;
    reads.reader.paths = program_.file().paths();
    reads.requests_per_record = kRequestsPerExpert;
    reads.heads = heads_of(program_.file());
    experts_ = std::make_unique<experts::Store>(
        program_.weights().expert_layers(), program_.weights().low_layers(),
        std::make_unique<io::ReadQueue>(reads), options.experts);
    if (options.state_bytes > 0) {
      states_ = std::make_unique<experts::States>(program_.weights().expert_layers(),
                                                  options.state_bytes);
    }
  }
  const auto& nodes = options.nodes;
  try {
    program_.weights().load(pool_, many_nodes(options) ? nodes : std::vector<int>(),
                            experts_ ? &experts_->queue() : nullptr, progress);
    if (options.experts.check_records) program_.weights().check_records(pool_);
    if (experts_ && options.experts.prefault) {
      // Elsewhere the thread that first writes a page has it on its node.
      if (!many_nodes(options)) fill_memory();
      experts_->fill(pool_, progress);
    }
    if (experts_ && !options.experts.profile.empty()) experts_->warm(progress);
  } catch (...) {
    if (const auto lost = take_lost()) throw *lost;  // which may be why
    throw;
  }
  if (const auto lost = take_lost()) throw *lost;
  // Elsewhere nothing of the files is needed any more but what is read.
  if (!program_.weights().in_place()) watches_.clear();
}

void Engine::fill_memory() {
  std::vector<std::span<uint8_t>> all;
  for (AlignedBuffer* buffer : {&activations_, &scratch_, &logits_}) {
    all.emplace_back(buffer->data(), buffer->size());
  }
  for (size_t layer = 0; layer < kv_->shapes().size(); ++layer) all.push_back(kv_->memory(layer));
  for (const std::span<uint8_t> bytes : all) {
    Backing backing(bytes.data(), bytes.size());
    pool_.run([&](int) { backing.fill(bytes.size()); });
    backing.finish();
  }
}

// Of the files, where they are used mapped. All are asked, so that each is mapped anew.
std::optional<Error> Engine::take_lost() {
  std::optional<Error> first;
  if (experts_) first = experts_->queue().reader().take_lost();
  for (const auto& watch : watches_) {
    std::optional<Error> lost = watch->take_lost();
    if (lost && !first) first = std::move(lost);
  }
  if (first && experts_) experts_->drop_in_place();
  return first;
}

std::map<int, size_t> Engine::node_bytes() const {
  std::map<int, size_t> bytes = program_.weights().node_bytes();
  const int drive = program_.options().experts.node;
  if (experts_ && drive >= 0) bytes[drive] += experts_->memory_bytes();
  return bytes;
}

void Engine::check(std::span<const int32_t> tokens, std::span<const int32_t> sequences,
                   std::span<const int32_t> rows, std::span<const int32_t> hidden) const {
  if (tokens.empty() || tokens.size() > program_.options().max_batch) {
    invalid("a step takes 1 to " + std::to_string(program_.options().max_batch) + " tokens, got " +
            std::to_string(tokens.size()));
  }
  if (sequences.size() != tokens.size()) invalid("tokens and sequences must have the same length");
  for (const int32_t id : tokens) {
    if (id < 0 || static_cast<size_t>(id) >= program_.token_limit()) {
      invalid("token id " + std::to_string(id) + " is outside the vocabulary of " +
              std::to_string(program_.token_limit()));
    }
  }
  if (rows.size() > program_.max_rows()) {
    invalid("a step gives at most " + std::to_string(program_.max_rows()) +
            " rows of logits, asked for " + std::to_string(rows.size()));
  }
  for (const auto& wanted : {rows, hidden}) {
    for (const int32_t row : wanted) {
      if (row < 0 || static_cast<size_t>(row) >= tokens.size()) {
        invalid("row " + std::to_string(row) + " is outside the batch of " +
                std::to_string(tokens.size()));
      }
    }
  }
}

std::vector<Run> Engine::runs(std::span<const int32_t> sequences) const {
  std::vector<Run> runs;
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (!runs.empty() && runs.back().sequence == sequences[i]) {
      ++runs.back().count;
      continue;
    }
    for (const Run& run : runs) {
      if (run.sequence == sequences[i]) invalid("the tokens of a sequence must be neighbours");
    }
    runs.push_back(
        {sequences[i], i, 1, static_cast<int64_t>(kv_->sequences().length(sequences[i]))});
  }
  return runs;
}

const float* Engine::step(std::span<const int32_t> tokens, std::span<const int32_t> sequences,
                          std::span<const int32_t> rows, std::span<const int32_t> hidden,
                          const std::function<bool()>& interrupted) {
  check(tokens, sequences, rows, hidden);
  const std::vector<Run> batch = runs(sequences);
  std::vector<int32_t> positions(tokens.size());
  std::vector<kv::Sequences::Growth> growths;
  for (const Run& run : batch) {
    growths.push_back({run.sequence, run.first_position + run.count});
    for (size_t i = 0; i < run.count; ++i) {
      positions[run.begin + i] = static_cast<int32_t>(run.first_position + i);
    }
  }
  kv_->sequences().reserve(growths);
  Step step;
  step.kernels = kernels_;
  step.pool = &pool_;
  step.kv = kv_.get();
  step.by_node = many_nodes(program_.options()) && !program_.options().uneven;
  step.tokens = tokens.size();
  step.ids = tokens.data();
  step.positions = positions.data();
  step.runs = &batch;
  step.rows = rows.data();
  step.row_count = rows.size();
  step.logits = logits_.floats();
  step.buffers = buffers_.data();
  step.shared = scratch_.data();
  step.private_ = private_.data();
  step.counters = counters_.get();
  step.experts = experts_.get();
  step.states = states_.get();
  if (states_) states_->begin(tokens.size());
  step.interrupted = interrupted;
  take_lost();  // what others lost meanwhile is there again, or is lost to this step too
  const bool done = execute(step);
  if (!done && experts_) experts_->reset();
  const auto lost = take_lost();
  if (!done || lost) {
    for (const Run& run : batch) kv_->sequences().truncate(run.sequence, run.first_position);
    if (lost) throw *lost;  // whatever else came of it
    if (step.failure) std::rethrow_exception(step.failure);
    throw Error(ErrorKind::Interrupted, "the step was interrupted; the sequence is unchanged");
  }
  for (const Run& run : batch) {
    kv_->sequences().commit(run.sequence, tokens.subspan(run.begin, run.count));
  }
  if (states_) states_->keep();
  ++steps_;
  return logits_.floats();
}

const float* Engine::hidden(int32_t row) const {
  // No operator follows the head, so nothing has taken the place of what it read.
  const int last = program_.tape().ops.back().inputs[0];
  return buffers_[last] + static_cast<size_t>(row) * program_.width();
}

uint64_t Engine::identity() {
  if (!identity_) identity_ = graph::identity(program_, kernels_->isa);
  return *identity_;
}

void Engine::save_state(int sequence, const std::string& path) {
  kv::save_state(path, *kv_, sequence, identity(), *kernels_);
}

int Engine::load_state(const std::string& path) {
  return kv::load_state(path, *kv_, identity(), program_.token_limit());
}

bool Engine::settle(std::chrono::nanoseconds most) {
  Backing& backing = program_.weights().backing();
  const auto until = Clock::now() + most;
  if (backing.split() && most > most.zero()) pool_.run([&](int) { backing.join(most); });
  if (experts_) experts_->join(pool_, until);
  return !backing.split() && !(experts_ && experts_->split());
}

bool Engine::execute(Step& step) {
  const auto& ops = program_.ops();
  for (size_t i = 0; i < ops.size() * kCountersPerOp; ++i) {
    counters_[i].store(0, std::memory_order_relaxed);
  }
  // Without rows asked for, the head has nothing to do.
  const size_t count = ops.size() - (step.row_count == 0 ? 1 : 0);
  Backing& backing = program_.weights().backing();
  const auto begun_step = Clock::now();
  const auto join_time = backing.split() && joining_ >= kJoinTime ? joining_ : joining_.zero();
  // Operators after this one are not run. Thread 0 names the one it is about to finish, so that
  // all threads leave behind the same barrier.
  std::atomic<size_t> last{std::numeric_limits<size_t>::max()};
  if (experts_) step.guard([&] { experts_->next_step({step.ids, step.tokens}); });
  pool_.run([&](int thread) {
    Worker worker{step, thread, pool_.size()};
    if (join_time > join_time.zero()) {
      const auto begun_join = Clock::now();
      backing.join(join_time);
      // A page may take longer than the time there was; then steps are left alone for longer.
      if (thread == 0) joining_ -= Clock::now() - begun_join;
    }
    auto begun = Clock::now();
    auto polled = begun;
    for (size_t i = 0; i < count; ++i) {
      if (ops[i]->idle()) continue;
      worker.counters_used = static_cast<uint32_t>(i) * kCountersPerOp;
      ops[i]->run(worker);
      if (thread == 0 && begun - polled > kPollInterval) {
        polled = begun;
        if (step.interrupted()) last.store(i, std::memory_order_relaxed);
      }
      if (thread == 0 && step.given_up) last.store(i, std::memory_order_relaxed);
      worker.barrier();
      if (thread == 0) {
        const auto now = Clock::now();
        op_ns_[i] += std::chrono::nanoseconds(now - begun).count();
        begun = now;
      }
      if (i >= last.load(std::memory_order_relaxed)) return;
    }
  });
  joining_ += (Clock::now() - begun_step) / kJoinShare;
  return last.load() == std::numeric_limits<size_t>::max();
}

}  // namespace zs::graph
