// Other answers of the system than it gave, so that what lies between its calls and the results of
// a reader can be tested.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace zs::io {

struct SystemFaultOptions {
  // Calls of io_uring_enter, counted from 0, that end with this errno.
  std::vector<uint64_t> failing_enters;
  int enter_error = 0;
  // What every so manieth read call returns, one after the other and from the first again: at
  // most so many bytes, or a negative errno.
  std::vector<int64_t> answers;
  uint64_t every = 1;
  // io_uring as it was before Linux 5.19.
  bool old_ring = false;

  bool any() const { return !failing_enters.empty() || !answers.empty() || old_ring; }
};

// Any thread.
class SystemFaults {
 public:
  explicit SystemFaults(const SystemFaultOptions& options) : options_(options) {}

  bool old_ring() const { return options_.old_ring; }
  // What io_uring_enter fails with now; 0: it does not.
  int enter();
  // What a read call that brought `result` bytes to `out` shall have returned. What lies behind
  // that is overwritten, because nobody may rely on it.
  int64_t answer(int64_t result, uint8_t* out);

 private:
  SystemFaultOptions options_;
  std::atomic<uint64_t> enters_{0}, reads_{0};
};

}  // namespace zs::io
