// Keeps a number of requests under way and counts what comes back.
#include "io/read_rate.h"

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/aligned.h"
#include "base/error.h"
#include "gguf/report.h"
#include "io/open_reader.h"

namespace zs::io {
namespace {

Error refused(const std::string& path, int code) {
  return Error(ErrorKind::Storage, gguf::printable(path, 4096) +
                                       ": reading past the page cache failed: " +
                                       std::generic_category().message(code) +
                                       "; the file system may not offer O_DIRECT");
}

}  // namespace

uint64_t scattered(uint64_t i, uint64_t file_bytes, size_t request_bytes) {
  // A stride that is prime to most lengths: a drive's own read-ahead shall not help.
  return i * 7919 % (file_bytes / request_bytes) * request_bytes;
}

double read_rate(Reader& reader, const std::string& path, const RateOptions& o) {
  AlignedBuffer memory(o.depth * o.request_bytes, "measuring the drive");
  uint64_t next = o.first;
  const auto submit = [&](uint32_t place) {
    const uint64_t offset = scattered(next++, o.file_bytes, o.request_bytes);
    const Read read{place,           0,
                    offset,          o.request_bytes,
                    o.request_bytes, memory.data() + place * o.request_bytes};
    reader.submit({&read, 1});
  };
  const Clock::time_point start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  for (size_t i = 0; i < o.depth; ++i) submit(static_cast<uint32_t>(i));
  std::vector<ReadResult> results(o.depth);
  size_t under_way = o.depth, done = 0;
  int error = 0;
  while (under_way != 0) {
    const size_t count = reader.reap(results, std::chrono::seconds(1));
    const bool more = elapsed() < o.seconds && error == 0;
    for (size_t i = 0; i < count; ++i) {
      --under_way;
      ++done;
      if (results[i].error != 0) error = results[i].error;
      if (!more) continue;
      submit(results[i].tag);
      ++under_way;
    }
  }
  if (error != 0) throw refused(path, error);
  return static_cast<double>(done * o.request_bytes) / elapsed();
}

double drive_bandwidth(const std::string& path, size_t depth, size_t request_bytes,
                       double seconds) {
  ReaderOptions options;
  options.paths = {path};
  options.kind = ReaderKind::Pread;
  options.depth = static_cast<unsigned>(depth);
  const OpenedReader opened = open_reader(options);
  if (!opened.reader->direct()) throw refused(path, EINVAL);
  RateOptions rate{std::filesystem::file_size(path), depth, request_bytes, seconds, 0};
  if (rate.file_bytes < request_bytes) {
    throw Error(ErrorKind::Storage, gguf::printable(path, 4096) +
                                        ": is shorter than one request of " +
                                        std::to_string(request_bytes) + " bytes");
  }
  return read_rate(*opened.reader, path, rate);
}

}  // namespace zs::io
