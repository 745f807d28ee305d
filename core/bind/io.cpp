// _core.ReadQueue, with memory of its own: the way tests and studies read.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/aligned.h"
#include "base/error.h"
#include "bind/bind.h"
#include "bind/file_path.h"
#include "bind/reader_options.h"
#include "io/read_queue.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zs::bind {
namespace {

using Paths = std::vector<FilePath>;
using Options = nb::typed<nb::dict, nb::str, nb::any>;

std::vector<std::string> texts(const Paths& paths) {
  std::vector<std::string> all;
  for (const FilePath& path : paths) all.push_back(path.text);
  return all;
}

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorKind::InvalidRequest, message);
}

class OwningQueue {
 public:
  explicit OwningQueue(const io::QueueOptions& options)
      : files_(options.reader.paths.size()), queue_(options) {}

  void read(uint32_t tag, uint32_t file, uint64_t offset, size_t bytes, bool speculative) {
    if (file >= files_)
      refuse("file is " + std::to_string(file) + "; there are " + std::to_string(files_));
    if (bytes == 0) refuse("bytes is 0");
    if (offset % io::kReadAlign != 0) {
      refuse("offset is no multiple of " + std::to_string(io::kReadAlign));
    }
    const size_t room = round_up(bytes, io::kReadAlign);
    const auto [entry, added] =
        buffers_.try_emplace(tag, Buffer{AlignedBuffer(room, "reading"), bytes});
    if (!added) refuse("tag " + std::to_string(tag) + " is in use");
    nb::gil_scoped_release release;
    queue_.read({tag, file, offset, room, bytes, entry->second.memory.data(), speculative});
  }

  bool cancel(uint32_t tag) {
    if (!queue_.cancel(tag).gone) return false;
    buffers_.erase(tag);
    return true;
  }

  nb::list collect(double timeout_ms) {
    io::Finished finished[64];
    size_t count;
    {
      nb::gil_scoped_release release;
      count = queue_.collect(finished,
                             std::chrono::microseconds(static_cast<int64_t>(timeout_ms * 1000)));
    }
    nb::list list;
    for (size_t i = 0; i < count; ++i) {
      const auto buffer = buffers_.extract(finished[i].tag);
      nb::object bytes = nb::none(), error = nb::none();
      if (finished[i].error == 0) {
        const Buffer& read = buffer.mapped();
        bytes = nb::bytes(read.memory.data(), read.bytes);
      } else {
        error = nb::cast(std::string(queue_.failure(finished[i]).what()));
      }
      list.append(nb::make_tuple(finished[i].tag, bytes, error));
    }
    return list;
  }

  nb::dict counters() {
    const io::QueueCounters& c = queue_.counters();
    const io::CacheCounters cache = queue_.reader().cache_counters();
    nb::dict d;
    d["bytes_read"] = c.bytes_read;
    d["requests"] = c.requests;
    d["retries"] = c.retries;
    d["records"] = c.records;
    d["failed"] = c.failed;
    d["cancelled"] = c.cancelled;
    d["busy_us"] = c.busy_us;
    d["prefetched_bytes"] = cache.prefetched_bytes;
    d["released_bytes"] = cache.released_bytes;
    return d;
  }

  std::vector<uint64_t> bytes_by_copy() const {
    std::vector<uint64_t> bytes;
    for (size_t i = 0; i < queue_.mirrors().size(); ++i) {
      bytes.push_back(queue_.mirrors().bytes_read(i));
    }
    return bytes;
  }

  io::ReadQueue& queue() { return queue_; }

 private:
  struct Buffer {
    AlignedBuffer memory;
    size_t bytes = 0;
  };
  size_t files_;
  std::unordered_map<uint32_t, Buffer> buffers_;  // by tag; outlives the reads into it
  io::ReadQueue queue_;
};

OwningQueue* open_queue(const Paths& paths, const std::string& kind, unsigned depth,
                        size_t request_bytes, bool direct, const std::vector<int>& cpus,
                        size_t call_bytes, const std::vector<Paths>& mirrors,
                        unsigned speculative_depth, std::optional<Options> throttle,
                        std::optional<Options> faults, const std::vector<uint64_t>& heads) {
  io::QueueOptions options;
  options.reader.paths = texts(paths);
  options.reader.kind = io::reader_kind(kind);
  options.reader.depth = depth;
  options.reader.direct = direct;
  options.reader.cpus = cpus;
  options.reader.call_bytes = call_bytes;
  if (throttle) options.reader.throttle = throttle_from(*throttle);
  if (faults) options.reader.faults = faults_from(*faults);
  for (const Paths& mirror : mirrors) options.mirrors.push_back(texts(mirror));
  options.request_bytes = request_bytes;
  options.speculative_depth = speculative_depth;
  options.heads = heads;
  nb::gil_scoped_release release;
  return new OwningQueue(options);
}

void queue_states(nb::class_<OwningQueue>& c) {
  c.def_prop_ro(
       "name", [](OwningQueue& q) { return std::string(q.queue().reader().name()); },
       "The back end: uring, pread or mmap.")
      .def_prop_ro(
          "direct", [](OwningQueue& q) { return q.queue().reader().direct(); },
          "Whether all files are read past the page cache.")
      .def_prop_ro(
          "why", [](OwningQueue& q) { return q.queue().why(); },
          "Why the back end is not the one asked for, or empty.")
      .def_prop_ro(
          "in_flight", [](OwningQueue& q) { return q.queue().in_flight(); },
          "Records neither collected nor cancelled.")
      .def_prop_ro(
          "speculation_waiting", [](OwningQueue& q) { return q.queue().speculation_waiting(); },
          "Speculative records that wait for the drive to have time.")
      .def_prop_ro("counters", &OwningQueue::counters,
                   nb::sig("def counters(self) -> dict[str, int]"),
                   "What was read, tried again, failed and cancelled; bytes in the page cache.")
      .def_prop_ro("bytes_by_copy", &OwningQueue::bytes_by_copy,
                   "Bytes read from the files themselves and from each mirror.")
      .def_prop_ro(
          "now_us",
          [](OwningQueue& q) {
            return std::chrono::duration<double, std::micro>(
                       q.queue().reader().now().time_since_epoch())
                .count();
          },
          "The time by the clock of the reader, which a throttle may simulate.")
      .def(
          "take_warnings", [](OwningQueue& q) { return q.queue().take_warnings(); },
          "What the user should know, once; empty if nothing new.");
}

}  // namespace

void io(nb::module_& m) {
  nb::class_<OwningQueue> c(
      m, "ReadQueue",
      "Reads pieces of files, several at once, as the engine does.\n\n"
      "`mirrors` lists copies of all paths, which must agree in the first `heads` bytes of each\n"
      "and in samples of the rest. `throttle` makes reads as slow as a drive of a given\n"
      "latency_us and bytes_per_second, `faults` makes them fail; both are for tests. Raises\n"
      "StorageError, InvalidRequestError.");
  c.def(nb::new_(&open_queue), "paths"_a, nb::kw_only(), "kind"_a = "auto", "depth"_a = 16,
        "request_bytes"_a = 1 << 20, "direct"_a = true, "cpus"_a = std::vector<int>{},
        "call_bytes"_a = size_t{1} << 30, "mirrors"_a = std::vector<Paths>{},
        "speculative_depth"_a = 0, "throttle"_a = nb::none(), "faults"_a = nb::none(),
        "heads"_a = std::vector<uint64_t>{});
  c.def("read", &OwningQueue::read, "tag"_a, "file"_a, "offset"_a, "bytes"_a,
        "speculative"_a = false,
        "Starts reading; collect() gives the bytes. `offset` is a multiple of 4096. Speculation\n"
        "waits until the drive has time. Raises InvalidRequestError.");
  c.def(
      "poll", [](OwningQueue& q) { q.queue().poll(); },
      "Starts what waits as far as the drive has time, without taking what is finished.");
  c.def(
      "limit_speculation", [](OwningQueue& q, size_t bytes) { q.queue().limit_speculation(bytes); },
      "bytes"_a, "From now on speculation waits while so many bytes are under way.");
  c.def("cancel", &OwningQueue::cancel, "tag"_a,
        "Drops what has not begun of a speculative read. True if that is all of it, which then is "
        "not collected.");
  c.def(
      "promote", [](OwningQueue& q, uint32_t tag) { return q.queue().promote(tag); }, "tag"_a,
      "Makes a speculative read that waits one that is demanded; False if there is none.");
  c.def(
      "defer", [](OwningQueue& q, uint32_t tag, bool later) { return q.queue().defer(tag, later); },
      "tag"_a, "later"_a = true,
      "Goes on with a speculative read only while nothing else is under way, or with `later` "
      "False\n"
      "as with any other again. Returns the bytes not read yet; 0 if none of this tag waits.");
  c.def("collect", &OwningQueue::collect, "timeout_ms"_a = 0.0,
        nb::sig("def collect(self, timeout_ms: float = 0.0) "
                "-> list[tuple[int, bytes | None, str | None]]"),
        "Finished reads: tag, and bytes or what went wrong. Waits for one if there is none and\n"
        "some are under way.");
  queue_states(c);
}

}  // namespace zs::bind
