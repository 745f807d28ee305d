// Split models: PREFIX-00001-of-00003.gguf and so on, with `split.*` keys (gguf-split's layout).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gguf/shard.h"

namespace zs::gguf {

// The paths of all files of the model whose first file is `path`: itself alone when it is not
// split. Throws InvalidRequest when `first` is not the first part, ModelFormat when the `split.*`
// keys or the file's name do not allow the others to be found.
std::vector<std::string> list_parts(const Shard& first, const std::string& path);

// Checks the `split.*` keys of part `index` (from 0) against those of the first.
void check_part(const Shard& part, const std::string& path, uint64_t index, uint64_t count);

// Checks that the parts together hold the tensors that the first file announces.
void check_total(const Shard& first, const std::string& path, uint64_t tensors);

}  // namespace zs::gguf
