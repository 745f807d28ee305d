// The system calls themselves: glibc's cpu_set_t ends at 1024 CPUs.
#include "base/affinity.h"

#ifdef __linux__
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#endif

namespace zs {

#ifdef __linux__
namespace {

constexpr size_t kMaskBytes = kMaxCpus / 8;
static_assert(sizeof(long) == 8, "the kernel's mask is an array of long");

constexpr uint64_t bit(int cpu) {
  return uint64_t{1} << (cpu % 64);
}

bool read_mask(uint64_t* mask) {
  std::memset(mask, 0, kMaskBytes);
  return syscall(SYS_sched_getaffinity, 0, kMaskBytes, mask) > 0;
}

bool write_mask(const uint64_t* mask) {
  return syscall(SYS_sched_setaffinity, 0, kMaskBytes, mask) == 0;
}

}  // namespace

std::optional<std::vector<int>> thread_affinity() {
  uint64_t mask[kMaxCpus / 64];
  if (!read_mask(mask)) return std::nullopt;
  std::vector<int> cpus;
  for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (mask[cpu / 64] & bit(cpu)) cpus.push_back(cpu);
  }
  return cpus;
}

bool bind_thread(int cpu) {
  if (cpu < 0 || cpu >= kMaxCpus) return false;
  uint64_t mask[kMaxCpus / 64] = {};
  mask[cpu / 64] = bit(cpu);
  return write_mask(mask);
}

bool bind_thread(const std::vector<int>& cpus) {
  uint64_t mask[kMaxCpus / 64] = {};
  for (const int cpu : cpus) {
    if (cpu < 0 || cpu >= kMaxCpus) return false;
    mask[cpu / 64] |= bit(cpu);
  }
  return write_mask(mask);
}

ScopedBinding::ScopedBinding(int cpu) {
  bound_ = cpu >= 0 && cpu < kMaxCpus && read_mask(saved_) && (saved_[cpu / 64] & bit(cpu)) &&
           bind_thread(cpu);
}

ScopedBinding::~ScopedBinding() {
  if (bound_) write_mask(saved_);
}
#else
std::optional<std::vector<int>> thread_affinity() {
  return std::nullopt;
}
bool bind_thread(int) {
  return false;
}
bool bind_thread(const std::vector<int>&) {
  return false;
}
ScopedBinding::ScopedBinding(int) {}
ScopedBinding::~ScopedBinding() = default;
#endif

}  // namespace zs
