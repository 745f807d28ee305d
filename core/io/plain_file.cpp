// POSIX. A write is followed by fsync of the file, rename, and fsync of its folder.
#include "io/plain_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "base/error.h"
#include "gguf/report.h"

namespace zs::io {
namespace {

// What is read or written in one call; Linux takes no more than 2 GiB.
constexpr size_t kMostBytes = size_t{1} << 30;

[[noreturn]] void fail_storage(const std::string& path, const char* action,
                               const std::string& cause, const char* remedy) {
  throw Error(ErrorKind::Storage,
              gguf::printable(path, 4096) + ": cannot " + action + ": " + cause + "; " + remedy);
}

std::string cause_of(int error) {
  return std::generic_category().message(error);
}

constexpr const char* kMayRead = "check that the file exists and may be read";

// The name tells processes apart, and the number two writers of one.
std::string partial_name(const std::string& path) {
  static std::atomic<unsigned> number{0};
  const size_t name = path.rfind('/') + 1;  // 0 without a folder
  return path.substr(0, name) + "." + path.substr(name) + "." + std::to_string(getpid()) + "-" +
         std::to_string(number++) + ".partial";
}

}  // namespace

PlainFile::PlainFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail_storage(path, "open", cause_of(errno), kMayRead);
  struct stat info;
  const int error = fstat(descriptor_, &info) == 0 ? 0 : errno;
  if (error != 0 || !S_ISREG(info.st_mode)) {
    close(descriptor_);
    fail_storage(path, "read", error ? cause_of(error) : "not a regular file", kMayRead);
  }
  size_ = static_cast<uint64_t>(info.st_size);
}

PlainFile::~PlainFile() {
  close(descriptor_);
}

void PlainFile::read(uint64_t offset, std::span<uint8_t> bytes) const {
  while (!bytes.empty()) {
    const size_t most = bytes.size() < kMostBytes ? bytes.size() : kMostBytes;
    const ssize_t got = pread(descriptor_, bytes.data(), most, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_storage(path_, "read", cause_of(errno), "check the drive");
    if (got == 0) fail_storage(path_, "read", "the file became shorter", "try again");
    bytes = bytes.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
}

NewFile::NewFile(const std::string& path) : path_(path), partial_(partial_name(path)) {
  // Readable by its owner alone: what is written may hold what somebody said.
  descriptor_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor_ < 0) fail(errno);
}

NewFile::~NewFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(partial_.c_str());
}

void NewFile::fail(int error) const {
  fail_storage(path_, "write", cause_of(error),
               "check that the folder may be written and has room");
}

void NewFile::write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const size_t most = bytes.size() < kMostBytes ? bytes.size() : kMostBytes;
    const ssize_t put = ::write(descriptor_, bytes.data(), most);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail(errno);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
}

void NewFile::finish() {
  if (fsync(descriptor_) != 0) fail(errno);
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) fail(errno);
  close(descriptor_);
  descriptor_ = -1;
  const size_t slash = path_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
  const int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;  // a folder that may be written and not read
  // The file is there; some file systems cannot do more for its name.
  fsync(directory);
  close(directory);
}

}  // namespace zs::io
