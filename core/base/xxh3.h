// XXH3-64 of long inputs, seed 0: the checksum of records
// (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
#pragma once

#include <cstddef>
#include <cstdint>

namespace zs {

// `bytes` must be more than 240: shorter inputs have other rules, and no record is so short.
uint64_t xxh3_64(const uint8_t* data, size_t bytes);

}  // namespace zs
