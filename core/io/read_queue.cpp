// A state is a record under way, a piece one request of it; the reader's tags are pieces.
#include "io/read_queue.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/aligned.h"
#include "gguf/report.h"

namespace zs::io {
namespace {

constexpr unsigned kAttempts = 3;
constexpr size_t kResults = 64;    // taken from the reader at once
constexpr uint32_t kMostBit = 63;  // of Finished::copies: more copies share it
constexpr size_t kLeastRequest = size_t{256} << 10;

ReaderOptions with_copies(const QueueOptions& options) {
  ReaderOptions reader = options.reader;
  reader.paths = all_copies(reader.paths, options.mirrors, options.heads);
  return reader;
}

// A free place among `items`, or a new one.
template <class T>
uint32_t take_slot(std::vector<uint32_t>& free, std::vector<T>& items) {
  if (free.empty()) {
    items.emplace_back();
    return static_cast<uint32_t>(items.size() - 1);
  }
  const uint32_t slot = free.back();
  free.pop_back();
  return slot;
}

}  // namespace

ReadQueue::ReadQueue(const QueueOptions& options)
    : files_(options.reader.paths.size()),
      mirrors_(1 + options.mirrors.size()),
      request_bytes_(options.request_bytes),
      requests_per_record_(std::max<size_t>(1, options.requests_per_record)),
      speculative_depth_(options.speculative_depth),
      results_(kResults) {
  if (request_bytes_ == 0 || request_bytes_ % kReadAlign != 0) {
    throw Error(ErrorKind::InvalidRequest, "request_bytes is " + std::to_string(request_bytes_) +
                                               "; give a multiple of " +
                                               std::to_string(kReadAlign));
  }
  if (speculative_depth_ == 0) speculative_depth_ = options.reader.depth;
  ReaderOptions reader = with_copies(options);
  OpenedReader opened = open_reader(reader);
  paths_ = std::move(reader.paths);
  reader_ = std::move(opened.reader);
  why_ = std::move(opened.why);
}

void ReadQueue::read(std::span<const Record> records) {
  for (const Record& record : records) {
    assert(record.offset % kReadAlign == 0 && record.bytes % kReadAlign == 0);
    assert(reinterpret_cast<uintptr_t>(record.out) % kReadAlign == 0);
    assert(record.needed >= 1 && record.needed <= record.bytes && record.file < files_);
    const uint32_t slot = take_slot(free_states_, states_);
    State& state = states_[slot];
    state = {};
    state.record = record;
    state.result.tag = record.tag;
    // Equal pieces: a short one at the end would cost a request and move little.
    const size_t most =
        std::min(request_bytes_, std::max(kLeastRequest, record.needed / requests_per_record_));
    const size_t count = (record.needed + most - 1) / most;
    state.piece_bytes = round_up((record.needed + count - 1) / count, kReadAlign);
    ++in_flight_;
    if (record.speculative) {
      speculative_.push(slot);
    } else {
      while (!issued(states_[slot])) issue(slot);
    }
  }
  start_speculation();
  flush();
}

// Makes the next request of a record.
void ReadQueue::issue(uint32_t slot) {
  const uint32_t number = take_slot(free_pieces_, pieces_);
  State& state = states_[slot];
  Piece& piece = pieces_[number];
  piece = {};
  piece.state = slot;
  piece.begin = state.next;
  piece.bytes = std::min(state.piece_bytes, state.record.bytes - state.next);
  piece.needed = std::min(piece.bytes, state.record.needed - state.next);
  piece.copy = state.record.primary ? 0 : static_cast<uint32_t>(mirrors_.choose(piece.bytes));
  state.next += piece.bytes;
  ++state.open;
  send(number);
}

void ReadQueue::send(uint32_t number) {
  Piece& piece = pieces_[number];
  const Record& record = states_[piece.state].record;
  ++piece.attempts;
  ++counters_.requests;
  count_time();
  piece.sent = counted_;
  ++under_way_;
  bytes_under_way_ += piece.bytes;
  mirrors_.begin(piece.copy, piece.bytes, counted_);
  batch_.push_back({number, static_cast<uint32_t>(piece.copy * files_ + record.file),
                    record.offset + piece.begin, piece.bytes, piece.needed,
                    record.out ? record.out + piece.begin : nullptr});
}

void ReadQueue::start_speculation() {
  while (!speculative_.empty() && under_way_ < speculative_depth_ &&
         bytes_under_way_ < speculative_bytes_) {
    const uint32_t slot = speculative_[0];
    issue(slot);
    if (issued(states_[slot])) speculative_.pop();
  }
  if (deferred_.empty() || under_way_ != 0 || speculative_bytes_ == 0) return;
  const uint32_t slot = deferred_[0];
  issue(slot);
  if (issued(states_[slot])) deferred_.pop();
}

void ReadQueue::flush() {
  if (batch_.empty()) return;
  reader_->submit(batch_);
  batch_.clear();
}

bool ReadQueue::waits_in(Fifo<uint32_t>& queue, uint32_t tag, size_t& at) {
  for (at = 0; at < queue.size(); ++at) {
    if (states_[queue[at]].record.tag == tag) return true;
  }
  return false;
}

// The queue in which a record of this tag waits, and where there; nullptr if none does.
Fifo<uint32_t>* ReadQueue::waiting(uint32_t tag, size_t& at) {
  for (Fifo<uint32_t>* queue : {&speculative_, &deferred_}) {
    if (waits_in(*queue, tag, at)) return queue;
  }
  return nullptr;
}

ReadQueue::Cancelled ReadQueue::cancel(uint32_t tag) {
  size_t at;
  Fifo<uint32_t>* queue = waiting(tag, at);
  if (!queue) return {};
  const uint32_t slot = (*queue)[at];
  queue->erase(at);
  State& state = states_[slot];
  const Cancelled cancelled{state.open == 0, state.record.bytes - state.next};
  state.next = state.record.needed;
  state.result.error = ECANCELED;
  ++counters_.cancelled;
  if (cancelled.gone) release(slot);
  return cancelled;
}

void ReadQueue::release(uint32_t slot) {
  free_states_.push_back(slot);
  --in_flight_;
}

bool ReadQueue::promote(uint32_t tag) {
  size_t at;
  Fifo<uint32_t>* queue = waiting(tag, at);
  if (!queue) return false;
  const uint32_t slot = (*queue)[at];
  queue->erase(at);
  while (!issued(states_[slot])) issue(slot);
  flush();
  return true;
}

size_t ReadQueue::defer(uint32_t tag, bool later) {
  Fifo<uint32_t>& from = later ? speculative_ : deferred_;
  size_t at;
  if (!waits_in(from, tag, at)) return 0;
  const State& state = states_[from[at]];
  (later ? deferred_ : speculative_).push(from[at]);
  from.erase(at);
  return state.record.bytes - state.next;
}

size_t ReadQueue::collect(std::span<Finished> out, std::chrono::microseconds timeout) {
  if (polled_) std::rethrow_exception(std::exchange(polled_, nullptr));
  const Clock::time_point deadline = reader_->now() + timeout;
  while (reap({}) == kResults) {
  }
  while (finished_.empty() && in_flight_ != 0) {
    const auto left =
        std::chrono::duration_cast<std::chrono::microseconds>(deadline - reader_->now());
    if (left.count() <= 0) break;
    reap(left);
  }
  size_t taken = 0;
  for (; taken < out.size() && !finished_.empty(); ++taken) {
    const uint32_t slot = finished_.pop();
    out[taken] = states_[slot].result;
    release(slot);
    if (out[taken].error == ECANCELED) continue;
    ++counters_.records;
    counters_.failed += out[taken].error != 0;
  }
  return taken;
}

void ReadQueue::poll_now() noexcept {
  try {
    while (reap({}) == kResults) {
    }
  } catch (...) {
    polled_ = std::current_exception();
  }
}

// Takes what the reader has finished and starts what waited. Returns how much it took.
size_t ReadQueue::reap(std::chrono::microseconds timeout) {
  const size_t count = reader_->reap(results_, timeout);
  for (size_t i = 0; i < count; ++i) take(results_[i]);
  start_speculation();
  flush();
  return count;
}

void ReadQueue::take(const ReadResult& result) {
  Piece& piece = pieces_[result.tag];
  count_time();
  --under_way_;
  bytes_under_way_ -= piece.bytes;
  mirrors_.end(piece.copy, piece.bytes, result.error == 0, counted_);
  if (result.error == 0) {
    counters_.bytes_read += piece.bytes;
    const Clock::duration took = counted_ - piece.sent;
    if (quickest_ == quickest_.zero() || took < quickest_) quickest_ = took;
    states_[piece.state].result.copies |= uint64_t{1} << std::min(piece.copy, kMostBit);
  } else if (retry(result.tag, result.error)) {
    return;
  }
  State& state = states_[piece.state];
  if (result.error != 0) fail(piece.state, piece, result.error);
  // Only when nothing is under way any more may the record's memory serve for something else.
  if (--state.open == 0 && issued(state)) finished_.push(piece.state);
  free_pieces_.push_back(result.tag);
}

bool ReadQueue::retry(uint32_t number, int error) {
  Piece& piece = pieces_[number];
  if (piece.copy != 0) leave(piece.copy, std::generic_category().message(error));
  const State& state = states_[piece.state];
  if (state.result.error != 0 || piece.attempts >= kAttempts) return false;
  if (!state.record.primary) {
    piece.copy = static_cast<uint32_t>(mirrors_.after_failure(piece.copy, piece.attempts));
  }
  ++counters_.retries;
  send(number);
  return true;
}

void ReadQueue::fail(uint32_t slot, const Piece& piece, int error) {
  State& state = states_[slot];
  if (!issued(state)) {
    size_t at;
    if (Fifo<uint32_t>* queue = waiting(state.record.tag, at)) queue->erase(at);
    state.next = state.record.needed;
  }
  Finished& result = state.result;
  if (result.error != 0) return;
  result.error = error;
  result.file = static_cast<uint32_t>(piece.copy * files_ + state.record.file);
  result.offset = state.record.offset + piece.begin;
  result.bytes = piece.needed;
}

std::string ReadQueue::path(size_t file) const {
  return gguf::printable(paths_[file], 4096);
}

Error ReadQueue::failure(const Finished& finished) const {
  const std::string where = path(finished.file) + ": reading " + std::to_string(finished.bytes) +
                            " bytes at byte " + std::to_string(finished.offset) + " failed: ";
  if (finished.error == kEndOfFile) {
    return Error(ErrorKind::Storage,
                 where + "the file ends before; it was cut short: fetch or convert it again");
  }
  return Error(ErrorKind::Storage,
               where + std::generic_category().message(finished.error) + "; check the drive");
}

void ReadQueue::leave(size_t mirror, const std::string& why) {
  if (!mirrors_.give_up(mirror)) return;
  warnings_.push_back(path(mirror * files_) + ": the mirror failed (" + why +
                      "); reading goes on without it");
}

void ReadQueue::distrust(uint64_t copies, const std::string& why) {
  for (uint32_t i = 1; i < mirrors_.size(); ++i) {
    if (copies >> std::min(i, kMostBit) & 1) leave(i, why);
  }
}

void ReadQueue::count_time() {
  const Clock::time_point now = reader_->now();
  if (under_way_ != 0) busy_ += now - counted_;
  counted_ = now;
  counters_.busy_us =
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(busy_).count());
}

}  // namespace zs::io
