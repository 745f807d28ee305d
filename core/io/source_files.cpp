// O_DIRECT, tried with one block, because some file systems open so and refuse the first read.
#include "io/source_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/aligned.h"
#include "base/error.h"
#include "gguf/report.h"
#include "io/reader.h"

namespace zs::io {
namespace {

[[noreturn]] void fail(const std::string& path, const char* action, const std::string& cause) {
  throw Error(ErrorKind::Storage, gguf::printable(path, 4096) + ": cannot " + action + ": " +
                                      cause + "; check that the file exists and may be read");
}

int open_direct(const std::string& path, uint8_t* block) {
#ifdef O_DIRECT
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_DIRECT);
  if (file < 0) return -1;
  ssize_t got;
  do {
    got = pread(file, block, kReadAlign, 0);
  } while (got < 0 && errno == EINTR);
  // Other errors are those of the drive, and will be told by the read that meets them.
  if (got >= 0 || (errno != EINVAL && errno != EOPNOTSUPP)) return file;
  close(file);
#else
  (void)path, (void)block;
#endif
  return -1;
}

}  // namespace

SourceFiles::SourceFiles(const std::vector<std::string>& paths, bool direct) {
  AlignedBuffer block(kReadAlign, "opening files");
  descriptors_.reserve(paths.size());
  try {
    for (const std::string& path : paths) {
      struct stat info;
      if (stat(path.c_str(), &info) != 0) {
        fail(path, "open", std::generic_category().message(errno));
      }
      if (!S_ISREG(info.st_mode)) fail(path, "read", "not a regular file");
      int file = direct ? open_direct(path, block.data()) : -1;
      direct_.push_back(file >= 0);
      if (file < 0) {
        file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (file < 0) fail(path, "open", std::generic_category().message(errno));
#ifdef POSIX_FADV_RANDOM
        // Nothing beyond what is asked for, which would stay in the page cache.
        posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
#endif
      }
      descriptors_.push_back(file);
    }
  } catch (...) {
    close_all();
    throw;
  }
}

SourceFiles::~SourceFiles() {
  close_all();
}

SourceFiles& SourceFiles::operator=(SourceFiles&& other) noexcept {
  std::swap(descriptors_, other.descriptors_);
  std::swap(direct_, other.direct_);
  return *this;
}

void SourceFiles::close_all() {
  for (const int file : descriptors_) close(file);
  descriptors_.clear();
}

bool SourceFiles::all_direct() const {
  return std::all_of(direct_.begin(), direct_.end(), [](uint8_t each) { return each != 0; });
}

size_t SourceFiles::release(uint32_t file, uint64_t offset, size_t bytes) const {
  if (direct(file)) return 0;
#ifdef POSIX_FADV_DONTNEED
  posix_fadvise(descriptor(file), static_cast<off_t>(offset), static_cast<off_t>(bytes),
                POSIX_FADV_DONTNEED);
  return bytes;
#else
  (void)offset;
  return 0;
#endif
}

}  // namespace zs::io
