// POSIX mmap.
#include "io/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "gguf/report.h"
#include "io/reader.h"

namespace zs::io {
namespace {

[[noreturn]] void fail(const std::string& path, const char* action, const std::string& cause) {
  throw Error(ErrorKind::Storage, gguf::printable(path, 4096) + ": cannot " + action + ": " +
                                      cause + "; check that the file exists and may be read");
}

[[noreturn]] void fail_errno(const std::string& path, const char* action) {
  fail(path, action, std::generic_category().message(errno));
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
  int release() { return std::exchange(fd, -1); }
};

}  // namespace

std::shared_ptr<const Mapping> Mapping::open(const std::string& path) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail_errno(path, "open");
  struct stat info;
  if (fstat(file.fd, &info) != 0) fail_errno(path, "inspect");
  if (!S_ISREG(info.st_mode)) fail(path, "map", "not a regular file");
  const auto size = static_cast<size_t>(info.st_size);
  if (size == 0) return std::shared_ptr<const Mapping>(new Mapping(file.release(), {}));
  void* address = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd, 0);
  if (address == MAP_FAILED) fail_errno(path, "map");
  return std::shared_ptr<const Mapping>(
      new Mapping(file.release(), {static_cast<const uint8_t*>(address), size}));
}

Mapping::~Mapping() {
  if (!bytes_.empty()) munmap(const_cast<uint8_t*>(bytes_.data()), bytes_.size());
  close(file_);
}

uint64_t Mapping::size_now() const {
  struct stat info;
  return fstat(file_, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

bool Mapping::map_again() const {
  void* address = const_cast<uint8_t*>(bytes_.data());
  return mmap(address, bytes_.size(), PROT_READ, MAP_SHARED | MAP_FIXED, file_, 0) != MAP_FAILED;
}

int Mapping::read(uint64_t offset, std::span<uint8_t> out) const {
  while (!out.empty()) {
    const ssize_t got = pread(file_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got < 0 ? errno : kEndOfFile;
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return 0;
}

}  // namespace zs::io
