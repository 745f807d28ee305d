// How far a read has come that the system may do in several steps.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "io/reader.h"

namespace zs::io {

class Progress {
 public:
  Progress() = default;
  explicit Progress(const Read& read) : read_(read) {}

  const Read& read() const { return read_; }
  uint8_t* out() const { return read_.out + done_; }
  uint64_t offset() const { return read_.offset + done_; }
  // Of the next step, which shall have at most `most`, a multiple of kReadAlign.
  size_t bytes(size_t most) const { return std::min(read_.bytes - done_, most); }

  // Takes what a step returned: bytes or a negative errno. True when the read is over.
  bool take(int64_t result);
  int error() const { return error_; }

 private:
  Read read_;
  size_t done_ = 0;
  int in_vain_ = 0;  // steps since the last that got on
  int error_ = 0;
};

}  // namespace zs::io
