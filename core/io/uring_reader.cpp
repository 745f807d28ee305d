// Slots are what the kernel may hold at once; a completion's data is its slot.
//
// The kernel joins requests of one call that continue each other, which undoes what they were split
// for; so each has a call of its own (1 us). Records of 2.5 MiB, one at a time and two, in GB/s: as
// one request or as 8 joined ones 1.9 and 2.0, in 2 of their own 2.13 and 2.23, in 4 2.35 and 2.42,
// in 8 2.36 and 2.41, in 12 2.33 and 2.38 (virtio drive, Linux 6.18, taking turns).
#include "io/uring_reader.h"

#include <cassert>
#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"

namespace zs::io {
namespace {

// The kernel is short of memory for requests; some of them will end.
bool passes(int error) {
  return error == EAGAIN || error == EBUSY || error == EINTR;
}

void check(int error) {
  if (error == 0 || error == ETIME || passes(error)) return;
  throw Error(ErrorKind::Storage,
              "io_uring_enter failed: " + std::generic_category().message(error) +
                  "; read with pread instead");
}

}  // namespace

UringReader::UringReader(std::unique_ptr<Uring> ring, SourceFiles files, unsigned depth,
                         size_t call_bytes, std::shared_ptr<SystemFaults> faults)
    : ring_(std::move(ring)),
      files_(std::move(files)),
      call_bytes_(call_bytes),
      faults_(std::move(faults)),
      slots_(depth) {
  registered_ = ring_->register_files(files_.descriptors());
  for (unsigned i = depth; i-- > 0;) free_.push_back(i);
}

UringReader::~UringReader() {
  // What the kernel has may still be written to; what waits here may be forgotten.
  while (waiting_.size() != 0) waiting_.pop();
  ReadResult results[16];
  try {
    while (under_way() != 0) reap(results, std::chrono::milliseconds(100));
  } catch (const Error&) {
    // Closing the ring, which follows, ends them too.
  }
}

void UringReader::push(uint32_t slot) {
  const Progress& read = slots_[slot];
  Uring::Request request;
  request.registered = registered_;
  request.file =
      registered_ ? static_cast<int>(read.read().file) : files_.descriptor(read.read().file);
  request.offset = read.offset();
  request.out = read.out();
  request.bytes = static_cast<uint32_t>(read.bytes(call_bytes_));
  request.data = slot;
  [[maybe_unused]] const bool pushed = ring_->push(request);
  assert(pushed);  // there is an entry for each slot
}

int UringReader::start() {
  const Read* before = nullptr;  // pushed and not submitted
  while (!free_.empty() && !waiting_.empty()) {
    const uint32_t slot = free_.back();
    free_.pop_back();
    slots_[slot] = Progress(waiting_.pop());
    const Read& read = slots_[slot].read();
    if (before && before->file == read.file && before->offset + before->bytes == read.offset) {
      const int error = submit_pushed();
      if (error != 0) {
        push(slot);
        return passes(error) ? 0 : error;
      }
    }
    push(slot);
    before = &read;
  }
  const int error = submit_pushed();
  return passes(error) ? 0 : error;  // the next call submits again
}

int UringReader::submit_pushed() {
  while (ring_->pending()) {
    const int error = ring_->submit();
    if (error != 0 && error != EINTR) return error;
  }
  return 0;
}

void UringReader::submit(std::span<const Read> reads) {
  for (const Read& read : reads) waiting_.push(read);
  start();  // if it fails, reap() fails likewise
}

size_t UringReader::take(std::span<ReadResult> results) {
  size_t taken = 0;
  Uring::Completion completion;
  while (taken < results.size() && ring_->pop(&completion)) {
    const auto slot = static_cast<uint32_t>(completion.data);
    Progress& progress = slots_[slot];
    const int64_t result =
        faults_ ? faults_->answer(completion.result, progress.out()) : completion.result;
    if (!progress.take(result)) {
      push(slot);
      continue;
    }
    const Read& read = progress.read();
    results[taken++] = {read.tag, progress.error()};
    released_bytes_ += files_.release(read.file, read.offset, read.bytes);
    free_.push_back(slot);
  }
  error_ = start();
  return taken;
}

size_t UringReader::reap(std::span<ReadResult> results, std::chrono::microseconds timeout) {
  // What has come is handed out whatever fails: it would be lost, and waited for without end. The
  // next call fails.
  size_t taken = take(results);
  if (taken == 0) check(error_);
  if (taken != 0 || timeout.count() <= 0 || results.empty()) return taken;
  const Clock::time_point deadline = Clock::now() + timeout;
  while (taken == 0 && under_way() != 0) {
    const Clock::duration left = deadline - Clock::now();
    if (left.count() <= 0) break;
    const int error = ring_->wait(left);
    if (error == EAGAIN || error == EBUSY) std::this_thread::yield();
    taken = take(results);
    if (taken != 0) break;
    check(error);
    check(error_);
  }
  return taken;
}

}  // namespace zs::io
