// Anonymous page-aligned memory for weights, caches and scratch: huge pages where the kernel
// grants them, zero-filled, never moved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace zs {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Throws OutOfBudget when the system cannot give `bytes`; `purpose` names it in the message.
  AlignedBuffer(size_t bytes, const char* purpose);
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept { swap(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  float* floats() { return reinterpret_cast<float*>(data_); }
  size_t size() const { return size_; }

 private:
  void swap(AlignedBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
  }
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t mapped_ = 0;
};

inline constexpr size_t round_up(size_t value, size_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace zs
