// Asking the kernel for the pages of a mapped file: ahead of their use, and for certain.
#pragma once

#include <cstdint>
#include <span>

namespace zs::io {

// Starts reading pages that are not in memory, and returns. Advice only.
void prefetch(std::span<const uint8_t> pages);

// Asks for huge pages where the file system has them. Advice only.
void advise_huge(std::span<const uint8_t> pages);

// Takes the pages out of this process; the page cache keeps them. Advice only.
void release(std::span<const uint8_t> pages);

// Reads and maps the pages. False if the drive fails or the file has become shorter, where using
// them would end the process.
[[nodiscard]] bool populate(std::span<const uint8_t> pages);

// Keeps memory from being swapped out, where the process may do so. Advice only.
void lock(const uint8_t* data, size_t bytes);

}  // namespace zs::io
