// Reads that shall fail never reach the wrapped reader.
#include "io/faulty_reader.h"

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

namespace zs::io {
namespace {

template <class T>
bool has(const std::vector<T>& list, T value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace

FaultyReader::FaultyReader(std::unique_ptr<Reader> reader, const Faults& faults)
    : reader_(std::move(reader)), faults_(faults), random_(faults.seed) {}

FaultyReader::~FaultyReader() {
  std::this_thread::sleep_for(faults_.closing);
}

// Of the read that was counted last.
int FaultyReader::error_of(const Read& read) const {
  const uint64_t number = submitted_ - 1;
  if (number >= faults_.gone_after) return ENODEV;
  if (has(faults_.failing_reads, number) || has(faults_.failing_files, read.file)) return EIO;
  for (const Faults::Place& place : faults_.failing_places) {
    const bool inside = place.offset >= read.offset && place.offset < read.offset + read.bytes;
    if (place.file == read.file && inside) return EIO;
  }
  return 0;
}

void FaultyReader::submit(std::span<const Read> reads) {
  std::vector<Read> passed;
  for (Read read : reads) {
    const uint64_t number = submitted_++;
    const bool stalls = has(faults_.stalled_reads, number);
    slots_.push_back({read.tag, stalls});
    if (const int error = error_of(read)) {
      done_.push_back({read.tag, error});
      continue;
    }
    read.tag = static_cast<uint32_t>(number);
    passed.push_back(read);
  }
  inside_ += passed.size();
  if (!passed.empty()) reader_->submit(passed);
}

void FaultyReader::arrive(std::chrono::microseconds timeout) {
  ReadResult results[16];
  const size_t count = reader_->reap(results, timeout);
  inside_ -= count;
  for (size_t i = 0; i < count; ++i) {
    const Slot& slot = slots_[results[i].tag];
    const ReadResult result{slot.tag, results[i].error};
    if (slot.stalls) {
      stalled_.push_back({Clock::now() + faults_.stall, result});
    } else {
      done_.push_back(result);
    }
  }
  for (size_t i = stalled_.size(); i-- > 0;) {
    if (stalled_[i].due > Clock::now()) continue;
    done_.push_back(stalled_[i].result);
    stalled_.erase(stalled_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

bool FaultyReader::may_give() const {
  if (done_.empty()) return false;
  return done_.size() >= faults_.shuffled || (inside_ == 0 && stalled_.empty());
}

Clock::time_point FaultyReader::next_due() const {
  Clock::time_point due = Clock::time_point::max();
  for (const Stalled& each : stalled_) due = std::min(due, each.due);
  return due;
}

size_t FaultyReader::reap(std::span<ReadResult> results, std::chrono::microseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  arrive(std::chrono::microseconds(0));
  while (!may_give() && (inside_ != 0 || !stalled_.empty()) && Clock::now() < deadline) {
    const Clock::time_point until = std::min(deadline, next_due());
    if (inside_ == 0) std::this_thread::sleep_until(until);
    arrive(std::chrono::ceil<std::chrono::microseconds>(until - Clock::now()));
  }
  if (!may_give()) return 0;
  if (faults_.shuffled != 0) std::shuffle(done_.begin(), done_.end(), random_);
  const size_t taken = std::min(results.size(), done_.size());
  std::copy_n(done_.begin(), taken, results.begin());
  done_.erase(done_.begin(), done_.begin() + static_cast<std::ptrdiff_t>(taken));
  return taken;
}

}  // namespace zs::io
