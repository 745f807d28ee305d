// mbind(2), called directly: it needs no library.
#include "cpu/node_memory.h"

#include <cstdint>

#ifdef __linux__
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace zs::cpu {

std::vector<NodePart> split_by_node(size_t count, const std::vector<int>& nodes) {
  std::vector<NodePart> parts;
  const int threads = static_cast<int>(nodes.size());
  for (int thread = 0; thread < threads; ++thread) {
    const Range own = share(count, thread, threads);
    if (parts.empty() || parts.back().node != nodes[thread]) {
      parts.push_back({nodes[thread], own});
    } else {
      parts.back().items.end = own.end;
    }
  }
  return parts;
}

bool prefer_node(const void* data, size_t bytes, int node) {
#ifdef __linux__
  constexpr uintptr_t kPage = 4096;
  constexpr int kNodes = 1024;
  if (node < 0 || node >= kNodes) return false;
  // A page that two nodes share goes to the first that asks.
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes + kPage - 1) / kPage * kPage;
  if (begin >= end) return true;
  unsigned long mask[kNodes / (8 * sizeof(unsigned long))] = {};
  constexpr int kBits = 8 * sizeof(unsigned long);
  mask[node / kBits] = 1ul << node % kBits;
  return syscall(SYS_mbind, begin, end - begin, MPOL_PREFERRED, mask, kNodes + 1, 0) == 0;
#else
  (void)data, (void)bytes, (void)node;
  return false;
#endif
}

}  // namespace zs::cpu
