// Keeps a number of requests under way and counts what comes back.
#include "io/read_rate.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <numeric>
#include <system_error>
#include <vector>

#include "base/aligned.h"
#include "base/error.h"
#include "gguf/report.h"

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
  const size_t count = std::max(o.depth, o.memory_bytes / o.request_bytes);
  AlignedBuffer memory(count * o.request_bytes, "measuring the drive");
  if (o.memory_bytes != 0) std::memset(memory.data(), 1, memory.size());
  std::deque<uint32_t> places(count);  // that are free
  std::iota(places.begin(), places.end(), 0u);
  uint64_t next = o.first;
  const auto submit = [&] {
    const uint32_t place = places.front();
    places.pop_front();
    const uint64_t offset = scattered(next++, o.file_bytes, o.request_bytes);
    const Read read{place,           0,
                    offset,          o.request_bytes,
                    o.request_bytes, memory.data() + place * o.request_bytes};
    reader.submit({&read, 1});
  };
  const Clock::time_point start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  for (size_t i = 0; i < o.depth; ++i) submit();
  std::vector<ReadResult> results(o.depth);
  size_t under_way = o.depth, done = 0;
  int error = 0;
  while (under_way != 0) {
    const size_t finished = reader.reap(results, std::chrono::seconds(1));
    const bool more = elapsed() < o.seconds && error == 0;
    for (size_t i = 0; i < finished; ++i) {
      --under_way;
      ++done;
      places.push_back(results[i].tag);
      if (results[i].error != 0) error = results[i].error;
      if (!more) continue;
      submit();
      ++under_way;
    }
  }
  if (error != 0) throw refused(path, error);
  return static_cast<double>(done * o.request_bytes) / elapsed();
}

double drive_bandwidth(const std::string& path, ReaderKind kind, RateOptions rate) {
  ReaderOptions options;
  options.paths = {path};
  options.kind = kind;
  options.depth = static_cast<unsigned>(rate.depth);
  const OpenedReader opened = open_reader(options);
  if (!opened.reader->direct()) throw refused(path, EINVAL);
  rate.file_bytes = std::filesystem::file_size(path);
  if (rate.file_bytes < rate.request_bytes) {
    throw Error(ErrorKind::Storage, gguf::printable(path, 4096) +
                                        ": is shorter than one request of " +
                                        std::to_string(rate.request_bytes) + " bytes");
  }
  return read_rate(*opened.reader, path, rate);
}

}  // namespace zs::io
