// Parsing one GGUF file: header, metadata and tensor directory.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gguf/cursor.h"
#include "gguf/file.h"

namespace zs::gguf {

struct Shard {
  uint32_t version = 0;
  std::vector<Entry> metadata;
  std::vector<TensorInfo> tensors;  // `shard` is left 0
};

// Throws ModelFormat or UnsupportedModel. Values and tensors point into `bytes`.
Shard parse_shard(const std::string& path, std::span<const uint8_t> bytes);

// The parts of parse_shard, in the order of the file.
std::vector<Entry> parse_metadata(Cursor& cursor, uint64_t count);
std::vector<TensorInfo> parse_directory(Cursor& cursor, const std::string& path, uint64_t count,
                                        uint64_t alignment, std::span<const uint8_t> bytes);

}  // namespace zs::gguf
