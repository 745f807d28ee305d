// Short reads go on where they ended, at a block's begin: reads past the page cache start there.
#include "io/progress.h"

#include <cerrno>

namespace zs::io {
namespace {

// Interruptions and reads of less than a block in a row. None of them takes long to fail.
constexpr int kMostInVain = 64;

}  // namespace

bool Progress::take(int64_t result) {
  // ECANCELED: the thread that had submitted the read ended.
  const bool again = result == -EINTR || result == -EAGAIN || result == -ECANCELED;
  if (result < 0 && !again) {
    error_ = static_cast<int>(-result);
    return true;
  }
  const size_t got = result > 0 ? static_cast<size_t>(result) : 0;
  if (done_ + got >= read_.needed) return true;
  if (result == 0) {
    error_ = kEndOfFile;
    return true;
  }
  const size_t before = done_;
  done_ = (done_ + got) / kReadAlign * kReadAlign;
  in_vain_ = done_ > before ? 0 : in_vain_ + 1;
  if (in_vain_ < kMostInVain) return false;
  error_ = again ? static_cast<int>(-result) : kEndOfFile;
  return true;
}

}  // namespace zs::io
