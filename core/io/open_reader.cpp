// io_uring first: it needs no thread for a read under way.
#include "io/open_reader.h"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "io/mapped_reader.h"
#include "io/pread_reader.h"
#include "io/source_files.h"
#include "io/uring_reader.h"

namespace zs::io {
namespace {

constexpr unsigned kMostDepth = 256;

std::string refusal(int error) {
  switch (error) {
    case EPERM: return "io_uring is not permitted here (EPERM)";
    case EACCES: return "io_uring is not permitted here (EACCES)";
    case ENOSYS: return "this system has no io_uring (ENOSYS)";
    case ENOMEM: return "io_uring gets no memory (ENOMEM; see ulimit -l)";
    default: return "io_uring: " + std::generic_category().message(error);
  }
}

void check(const ReaderOptions& options) {
  const auto refuse = [](const std::string& message) {
    throw Error(ErrorKind::InvalidRequest, message);
  };
  if (options.paths.empty()) refuse("no file to read");
  if (options.depth < 1 || options.depth > kMostDepth) {
    refuse("depth is " + std::to_string(options.depth) + "; give 1 to " +
           std::to_string(kMostDepth));
  }
  if (options.throttle && options.throttle->drives.empty()) refuse("throttle lists no drive");
  if (options.faults && options.faults->system.every == 0) refuse("faults: every is 0");
  if (options.call_bytes == 0 || options.call_bytes % kReadAlign != 0) {
    refuse("call_bytes is no multiple of " + std::to_string(kReadAlign));
  }
}

OpenedReader open_back_end(const ReaderOptions& o) {
  if (o.kind == ReaderKind::Mmap) {
    return {std::make_unique<MappedReader>(o.paths, o.depth, o.cpus), ""};
  }
  SourceFiles files(o.paths, o.direct);
  // Linux's own limit is a page less than 2 GiB.
  const size_t call_bytes = std::min(o.call_bytes, size_t{1} << 30);
  std::shared_ptr<SystemFaults> faults;
  if (o.faults && o.faults->system.any()) faults = std::make_shared<SystemFaults>(o.faults->system);
  std::string why;
  if (o.kind != ReaderKind::Pread) {
    int error = 0;
    if (auto ring = Uring::create(o.depth, &error, !faults || !faults->old_ring())) {
      if (!o.cpus.empty()) ring->bind_kernel_threads(o.cpus);
      if (faults) ring->set_fault([faults] { return faults->enter(); });
      return {std::make_unique<UringReader>(std::move(ring), std::move(files), o.depth, call_bytes,
                                            faults),
              ""};
    }
    why = refusal(error) + ": reading with pread";
  }
  return {std::make_unique<PreadReader>(std::move(files), o.depth, o.cpus, call_bytes, faults),
          why};
}

}  // namespace

OpenedReader open_reader(const ReaderOptions& options) {
  check(options);
  auto [reader, why] = open_back_end(options);
  if (options.faults) {
    reader = std::make_unique<FaultyReader>(std::move(reader), *options.faults);
  }
  if (options.throttle) {
    reader = std::make_unique<ThrottledReader>(std::move(reader), *options.throttle);
  }
  return {std::move(reader), why};
}

ReaderKind reader_kind(const std::string& name) {
  if (name == "auto") return ReaderKind::Auto;
  if (name == "uring") return ReaderKind::Uring;
  if (name == "pread") return ReaderKind::Pread;
  if (name == "mmap") return ReaderKind::Mmap;
  throw Error(ErrorKind::InvalidRequest,
              "no reader is called \"" + name + "\"; there are auto, uring, pread and mmap");
}

}  // namespace zs::io
