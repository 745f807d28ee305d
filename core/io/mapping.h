// A whole file mapped read-only into memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace zs::io {

class Mapping {
 public:
  // Throws Storage when the file cannot be opened or mapped, or is not a regular file. An empty
  // file gives an empty mapping. Pages are read as they are touched; what the file no longer has
  // ends the process then, unless somebody watches (io/loss_watch.h).
  static std::shared_ptr<const Mapping> open(const std::string& path);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::span<const uint8_t> bytes() const { return bytes_; }
  // Copies bytes of the file without the mapping, so that one which has become shorter is an error
  // and not the end of the process. Returns 0 when all are there, else errno, or kEndOfFile. Any
  // thread.
  int read(uint64_t offset, std::span<uint8_t> out) const;
  // Bytes that the file has now.
  uint64_t size_now() const;
  // At the same place, with what the file has now; false if the system refuses. Only while nobody
  // uses it.
  bool map_again() const;

 private:
  Mapping(int file, std::span<const uint8_t> bytes) : file_(file), bytes_(bytes) {}

  int file_;
  std::span<const uint8_t> bytes_;
};

}  // namespace zs::io
