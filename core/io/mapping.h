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
  // file gives an empty mapping. Pages are read as they are touched; the file must not shrink
  // while it is mapped.
  static std::shared_ptr<const Mapping> open(const std::string& path);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::span<const uint8_t> bytes() const { return bytes_; }

 private:
  explicit Mapping(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  std::span<const uint8_t> bytes_;
};

}  // namespace zs::io
