// Converted models: a GGUF whose weights lie packed into panels, as the kernels read them. Arrays
// of metadata say which tensor of the original each stored one holds (docs/guides/formats.md has
// the layout).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"

namespace zs::gguf {

// Changes with the layout of panels, of records or of the keys. Files in which experts have low
// copies have a version of their own, so that readers that do not know of those refuse them.
inline constexpr uint32_t kContainerVersion = 1;
inline constexpr uint32_t kLowCopyVersion = 2;
inline constexpr std::string_view kContainerKey = "zerostall.container.version";
// Where panels begin: a cache line, which is also the widest vector.
inline constexpr uint64_t kPanelAlignment = 64;

struct Container {
  uint32_t version = 0;               // 0: not a converted file
  std::vector<PackedWeight> weights;  // sorted by source, then by rows
  std::vector<PackedWeight> low;      // second records of experts, of fewer bits; so sorted
  std::vector<TensorInfo> stored;     // the directory as it is in the file
};

// Reads the `zerostall.*` keys. Where they are there, `tensors` becomes the directory of the
// original: stored tensors that hold packed weights go, the weights they hold come. Throws
// ModelFormat, or UnsupportedModel for another version of the layout.
Container read_container(const std::string& path, const std::vector<Entry>& metadata,
                         std::vector<TensorInfo>& tensors);

}  // namespace zs::gguf
