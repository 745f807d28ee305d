// A sequence in a file: its tokens, and the keys and values that were computed from them.
//
// Layout, little-endian: an index (a head of 256 bytes, the layers' shapes, the tokens, a checksum
// for each page of each layer), then the pages, for each page all layers. The index has a checksum
// of its own. What positions after the last token held is written as zeros, so that a file says
// nothing but its sequence and the same sequence gives the same file.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/table.h"
#include "kv/cache.h"

namespace zs::kv {

// `model` tells what computed the keys and values. Appears under `path` only when it is whole.
// Throws Storage, and InvalidRequest for a sequence that is not open.
void save_state(const std::string& path, KvCache& cache, int sequence, uint64_t model,
                const kernels::Table& kernels);

// A new sequence with the file's content. Everything is compared with the cache and with the
// checksums before anything changes. Tokens are below `token_limit`. Throws StateFile, Storage,
// ContextLength or OutOfBudget.
int load_state(const std::string& path, KvCache& cache, uint64_t model, size_t token_limit);

}  // namespace zs::kv
