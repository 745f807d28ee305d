// A GGUF model: metadata and tensor directory over read-only mappings of its file or shards.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3).
//
// A file is untrusted input: every count, length, type, dimension and offset is compared with
// the bytes that are there before it is used, and nothing is allocated by a claimed size.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/value.h"

namespace zs::gguf {

// A whole file in memory, kept alive by its owner. File takes the function that maps one, so
// that this layer holds no platform code (io/ does).
struct FileBytes {
  std::span<const uint8_t> bytes;
  std::shared_ptr<const void> owner;
};
using MapFile = std::function<FileBytes(const std::string& path)>;

struct TensorInfo {
  std::string name;
  uint32_t type;     // ggml type id; gguf/types.h names it, quant/ may or may not run it
  int n_dims;        // 0 (one value) to 4
  uint64_t dims[4];  // dims[0] is contiguous; unused ones are 1
  uint64_t bytes;
  const uint8_t* data;  // valid as long as the File; aligned as the file is
  int shard;            // index into paths()
  uint64_t offset;      // of data from the start of its shard
};

class File {
 public:
  // Opens a file, or the first file of a split model with all its shards. Throws ModelFormat,
  // UnsupportedModel or Storage. Defined in io/open_gguf.cpp, which supplies the mapping.
  static std::shared_ptr<File> open(const std::string& path);
  static std::shared_ptr<File> open(const std::string& path, const MapFile& map);

  uint32_t version() const { return version_; }
  const std::vector<std::string>& paths() const { return paths_; }  // one per shard

  // Metadata of the first shard, in the file's order.
  const std::vector<Entry>& metadata() const { return metadata_; }
  const Value* value(std::string_view key) const;  // nullptr when absent
  // Absent: nullopt. Present with a type that does not convert without loss: ModelFormat.
  std::optional<uint64_t> get_uint(std::string_view key) const;
  std::optional<double> get_float(std::string_view key) const;
  std::optional<bool> get_bool(std::string_view key) const;
  std::optional<std::string_view> get_string(std::string_view key) const;

  // Tensors of all shards, shard by shard, in the file's order.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const TensorInfo* find(std::string_view name) const;  // nullptr when absent

 private:
  File() = default;
  [[noreturn]] void fail_type(std::string_view key, const Value& found, const char* expected) const;

  uint32_t version_ = 0;
  std::vector<std::string> paths_;
  std::vector<FileBytes> shards_;
  std::vector<Entry> metadata_;
  std::vector<TensorInfo> tensors_;
  std::vector<uint32_t> keys_by_name_;     // indices into metadata_, sorted by key
  std::vector<uint32_t> tensors_by_name_;  // indices into tensors_, sorted by name
};

}  // namespace zs::gguf
