// Files read and written in the ordinary way, through the page cache: for what is not a model.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace zs::io {

class PlainFile {
 public:
  // Throws Storage when the file cannot be opened or is not a regular file.
  explicit PlainFile(const std::string& path);
  ~PlainFile();
  PlainFile(const PlainFile&) = delete;
  PlainFile& operator=(const PlainFile&) = delete;

  uint64_t size() const { return size_; }  // as it was opened
  // Throws Storage when the bytes cannot be read or the file ends before them.
  void read(uint64_t offset, std::span<uint8_t> bytes) const;

 private:
  std::string path_;
  int descriptor_;
  uint64_t size_ = 0;
};

// A file that appears under its name only when it is whole and on the drive.
class NewFile {
 public:
  // Throws Storage, as write() and finish() do; the name keeps what it had before.
  explicit NewFile(const std::string& path);
  ~NewFile();  // removes what was not finished
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(std::span<const uint8_t> bytes);
  void finish();

 private:
  [[noreturn]] void fail(int error) const;

  std::string path_, partial_;
  int descriptor_ = -1;
};

}  // namespace zs::io
