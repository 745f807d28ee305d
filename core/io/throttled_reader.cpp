// The wrapped reader gets every read at once; only its results are held back.
#include "io/throttled_reader.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace zs::io {

using std::chrono::duration_cast;
using std::chrono::microseconds;

ThrottledReader::ThrottledReader(std::unique_ptr<Reader> reader, const Throttle& throttle)
    : reader_(std::move(reader)),
      files_per_drive_(throttle.files_per_drive),
      simulated_(throttle.simulated) {
  for (const Throttle::Drive& drive : throttle.drives) drives_.push_back({drive, {}});
}

Clock::time_point ThrottledReader::schedule(const Read& read) {
  const size_t number = files_per_drive_ == 0 ? 0 : read.file / files_per_drive_;
  Drive& drive = drives_[std::min(number, drives_.size() - 1)];
  const std::chrono::duration<double> transfer(static_cast<double>(read.bytes) /
                                               drive.model.bytes_per_second);
  drive.free = std::max(drive.free, now()) + duration_cast<Clock::duration>(transfer);
  return drive.free + drive.model.latency;
}

void ThrottledReader::submit(std::span<const Read> reads) {
  for (Read read : reads) {
    if (free_.empty()) {
      free_.push_back(static_cast<uint32_t>(held_.size()));
      held_.emplace_back();
    }
    const uint32_t slot = free_.back();
    free_.pop_back();
    held_[slot] = {read.tag, schedule(read), false, 0};
    order_.push(slot);
    for (size_t i = order_.size() - 1; i > 0 && held_[order_[i]].due < held_[order_[i - 1]].due;
         --i) {
      std::swap(order_[i], order_[i - 1]);
    }
    read.tag = slot;
    reader_->submit({&read, 1});
  }
}

void ThrottledReader::arrive(microseconds timeout) {
  ReadResult results[16];
  size_t count;
  do {
    count = reader_->reap(results, timeout);
    for (size_t i = 0; i < count; ++i) {
      held_[results[i].tag].arrived = true;
      held_[results[i].tag].error = results[i].error;
    }
    timeout = microseconds(0);
  } while (count == std::size(results));
}

void ThrottledReader::wait_for(const Held& first, Clock::time_point deadline) {
  const Clock::time_point until = std::min(first.due, deadline);
  if (simulated_) {
    now_ = std::max(now_, until);
    // Real time must not decide what is there at a simulated one.
    while (!first.arrived && first.due <= now_) arrive(std::chrono::seconds(1));
  } else if (until > now()) {
    std::this_thread::sleep_until(until);
  } else {
    arrive(duration_cast<microseconds>(deadline - now()));
  }
}

size_t ThrottledReader::reap(std::span<ReadResult> results, microseconds timeout) {
  const Clock::time_point deadline = now() + timeout;
  for (;;) {
    arrive(microseconds(0));
    size_t taken = 0;
    while (taken < results.size() && !order_.empty()) {
      const Held& first = held_[order_[0]];
      if (first.due > now()) break;
      if (simulated_) wait_for(first, now());
      if (!first.arrived) break;
      results[taken++] = {first.tag, first.error};
      free_.push_back(order_.pop());
    }
    if (taken != 0 || order_.empty() || now() >= deadline) return taken;
    wait_for(held_[order_[0]], deadline);
  }
}

}  // namespace zs::io
