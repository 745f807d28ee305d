// A submission and a completion queue shared with the Linux kernel (io_uring), for reads only.
// Through the kernel's own header and bare system calls: what must be there is of Linux 5.6,
// small enough, and no build can count on liburing.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace zs::io {

class Uring {
 public:
  struct Request {
    int file;         // a descriptor, or an index into the registered files
    bool registered;  // which of both
    uint64_t offset;
    uint8_t* out;
    uint32_t bytes;
    uint64_t data;  // comes back with the completion
  };
  struct Completion {
    uint64_t data;
    int32_t result;  // bytes, or a negative errno
  };

  // Nothing where the system has no io_uring or does not permit it; `error` says which: ENOSYS,
  // EPERM, ENOMEM.
  // `quiet`: a completion does not interrupt the thread that submitted, where the kernel knows how
  // (Linux 5.19).
  static std::unique_ptr<Uring> create(unsigned entries, int* error, bool quiet = true);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  // Saves the kernel the search for the file with every request. False if it refuses.
  bool register_files(std::span<const int> files);
  // Where the kernel's own threads run, which do what cannot be started without waiting. Advice
  // only.
  void bind_kernel_threads(std::span<const int> cpus);

  // For tests: asked before each call that submits or waits, for an errno to fail with, or 0.
  void set_fault(std::function<int()> fault);

  // Queues a request; false if the queue is full.
  bool push(const Request& request);
  bool pending() const;
  // Submits what was pushed. An errno or 0.
  int submit();
  // The same, then waits for a completion. ETIME when there is none.
  int wait(std::chrono::nanoseconds timeout);
  // Whether there may be a completion, without a system call.
  bool ready() const;
  // Takes a completion; a system call only if the kernel holds some back.
  bool pop(Completion* completion);

 private:
  struct Rings;
  explicit Uring(std::unique_ptr<Rings> rings);
  std::unique_ptr<Rings> rings_;
};

}  // namespace zs::io
