// The CPUs a thread may run on, and when. Systems other than Linux do not say and cannot be told.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace zs {

constexpr int kMaxCpus = 8192;  // Linux's own limit on x86-64

// The calling thread's affinity mask as CPU numbers, ascending; nothing where unknown.
std::optional<std::vector<int>> thread_affinity();

// Lets the calling thread run on this CPU only; false if the system refuses, and then nothing
// has changed.
bool bind_thread(int cpu);
// The same for several CPUs.
bool bind_thread(const std::vector<int>& cpus);

// Binds the calling thread to a CPU for a scope and restores its mask after it. Does nothing if
// the mask no longer has the CPU. Allocates nothing.
class ScopedBinding {
 public:
  explicit ScopedBinding(int cpu);
  ~ScopedBinding();
  ScopedBinding(const ScopedBinding&) = delete;
  ScopedBinding& operator=(const ScopedBinding&) = delete;

 private:
  uint64_t saved_[kMaxCpus / 64];
  bool bound_ = false;
};

}  // namespace zs
