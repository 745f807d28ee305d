// Files opened for reading large pieces: past the page cache where the file system offers that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace zs::io {

class SourceFiles {
 public:
  // `direct` asks for reading past the page cache; files that do not offer it are read through
  // it. Throws Storage when a file cannot be opened or is not a regular file.
  SourceFiles(const std::vector<std::string>& paths, bool direct);
  ~SourceFiles();
  SourceFiles(SourceFiles&& other) noexcept { *this = std::move(other); }
  SourceFiles& operator=(SourceFiles&& other) noexcept;

  int descriptor(uint32_t file) const { return descriptors_[file]; }
  std::span<const int> descriptors() const { return descriptors_; }
  bool direct(uint32_t file) const { return direct_[file] != 0; }
  bool all_direct() const;

  // Takes what was read out of the page cache, if it went through it. Returns how many bytes.
  size_t release(uint32_t file, uint64_t offset, size_t bytes) const;

 private:
  void close_all();

  std::vector<int> descriptors_;
  std::vector<uint8_t> direct_;
};

}  // namespace zs::io
