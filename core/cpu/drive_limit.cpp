// How fast a drive reads past the page cache: plain threads with one O_DIRECT request each.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include "base/aligned.h"
#include "base/error.h"
#include "cpu/limits.h"

namespace zs::cpu {
namespace {

Error refused(const std::string& path, int code) {
  return Error(ErrorKind::Storage,
               path + ": reading past the page cache failed: " + std::strerror(code) +
                   "; the file system may not offer O_DIRECT");
}

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) close(value);
  }
};

}  // namespace

double drive_bandwidth(const std::string& path, size_t depth, size_t request_bytes,
                       double seconds) {
#ifdef O_DIRECT
  const Descriptor file{open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC)};
#else
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
#endif
  if (file.value < 0) throw refused(path, errno);
  struct stat status{};
  if (fstat(file.value, &status) != 0) throw refused(path, errno);
  const size_t blocks = static_cast<size_t>(status.st_size) / request_bytes;
  if (blocks == 0) {
    throw Error(ErrorKind::Storage, path + ": is shorter than one request of " +
                                        std::to_string(request_bytes) + " bytes");
  }
  AlignedBuffer memory(depth * request_bytes, "measuring the drive");
  std::atomic<size_t> next{0}, done{0};
  std::atomic<int> failure{0};
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  const auto reader = [&](size_t index) {
    uint8_t* target = memory.data() + index * request_bytes;
    do {
      // A stride that is prime to most lengths: a drive's own read-ahead shall not help.
      const size_t block = next.fetch_add(1) * 7919 % blocks;
      const ssize_t got =
          pread(file.value, target, request_bytes, static_cast<off_t>(block * request_bytes));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        failure = got < 0 ? errno : EIO;
        return;
      }
      done += static_cast<size_t>(got);
    } while (elapsed() < seconds && failure == 0);
  };
  std::vector<std::thread> readers;
  for (size_t i = 0; i < depth; ++i) readers.emplace_back(reader, i);
  for (std::thread& thread : readers) thread.join();
  if (failure != 0) throw refused(path, failure);
  return static_cast<double>(done) / elapsed();
}

}  // namespace zs::cpu
