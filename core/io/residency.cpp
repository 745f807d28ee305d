// POSIX madvise and Linux's MADV_POPULATE_READ (5.14).
#include "io/residency.h"

#include <sys/mman.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

#include <cerrno>
#include <cstddef>

namespace zs::io {
namespace {

#ifdef MADV_POPULATE_READ
constexpr int kPopulateRead = MADV_POPULATE_READ;
#else
constexpr int kPopulateRead = 22;  // include/uapi/asm-generic/mman-common.h
#endif

struct Pages {
  void* begin;
  size_t bytes;
};

// All pages that a range touches.
Pages touched(std::span<const uint8_t> range) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(range.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(range.data() + range.size());
  return {reinterpret_cast<void*>(begin), end - begin};
}

}  // namespace

void prefetch(std::span<const uint8_t> pages) {
  const auto [begin, bytes] = touched(pages);
  madvise(begin, bytes, MADV_WILLNEED);
}

void advise_huge(std::span<const uint8_t> pages) {
#ifdef MADV_HUGEPAGE
  const auto [begin, bytes] = touched(pages);
  madvise(begin, bytes, MADV_HUGEPAGE);
#endif
}

void release(std::span<const uint8_t> pages) {
  const auto [begin, bytes] = touched(pages);
  madvise(begin, bytes, MADV_DONTNEED);
}

bool populate(std::span<const uint8_t> pages) {
  if (pages.empty()) return true;
  const auto [begin, bytes] = touched(pages);
  while (madvise(begin, bytes, kPopulateRead) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    // An older kernel, which maps pages as they are used.
    return errno == EINVAL;
  }
  return true;
}

void lock(const uint8_t* data, size_t bytes) {
  // ONFAULT: what nobody touches takes no memory. The wrapper is younger than the call.
#if defined(__linux__) && defined(SYS_mlock2)
  constexpr int kOnFault = 1;
  syscall(SYS_mlock2, data, bytes, kOnFault);
#else
  (void)data;
  (void)bytes;
#endif
}

}  // namespace zs::io
