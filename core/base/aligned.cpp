// Anonymous mappings, aligned to 2 MiB when large so that huge pages can back them.
#include "base/aligned.h"

#include <sys/mman.h>

#include <string>

#include "base/error.h"

namespace zs {
namespace {
constexpr size_t kHugePage = size_t{2} << 20;
}

AlignedBuffer::AlignedBuffer(size_t bytes, const char* purpose) : size_(bytes) {
  if (bytes == 0) return;
  const bool large = bytes >= kHugePage;
  mapped_ = round_up(bytes, large ? kHugePage : 4096);
  // Map one huge page more than needed and give the ends back: mmap aligns only to 4 KiB.
  const size_t asked = mapped_ + (large ? kHugePage : 0);
  void* base = asked < bytes ? MAP_FAILED
                             : mmap(nullptr, asked, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    throw Error(ErrorKind::OutOfBudget, "cannot allocate " + std::to_string(bytes) + " bytes for " +
                                            purpose +
                                            ": the system refused; use a smaller model or context");
  }
  data_ = static_cast<uint8_t*>(base);
  if (!large) return;
  const size_t head =
      round_up(reinterpret_cast<uintptr_t>(base), kHugePage) - reinterpret_cast<uintptr_t>(base);
  if (head) munmap(base, head);
  data_ += head;
  if (kHugePage - head) munmap(data_ + mapped_, kHugePage - head);
#ifdef MADV_HUGEPAGE
  madvise(data_, mapped_, MADV_HUGEPAGE);  // advice only: where it is off, pages stay 4 KiB
#endif
}

AlignedBuffer::~AlignedBuffer() {
  if (data_) munmap(data_, mapped_);
}

}  // namespace zs
