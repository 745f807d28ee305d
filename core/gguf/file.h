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

#include "base/error.h"
#include "gguf/value.h"

namespace zs::gguf {

// Looks after a mapping whose file may become shorter, as long as it exists.
struct Watch {
  virtual ~Watch() = default;
  // If something could not be read since the last call, and zeros were read instead: Storage, with
  // the path and the first byte. The file is mapped anew then: what it has by now is there again.
  // Not while whoever watches uses the mapping.
  virtual std::optional<Error> take_lost() = 0;
};

// A whole file in memory, kept alive by its owner. File takes the function that maps one, so
// that this layer holds no platform code (io/ does).
struct FileBytes {
  std::span<const uint8_t> bytes;
  std::shared_ptr<const void> owner;
  // Copies bytes of the file as it is now: 0, or why not (errno). Any thread.
  std::function<int(uint64_t offset, std::span<uint8_t> out)> read;
  std::function<std::unique_ptr<Watch>()> watch;
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
  bool packed = false;  // of a converted file, held in panels only: `data` is where they begin
};

// Rows of a tensor that a converted file holds packed (gguf/container.h).
struct PackedWeight {
  std::string source;           // the tensor of the original
  uint64_t row_begin, row_end;  // all rows of an expert
  uint64_t experts;             // 1 for a matrix
  const uint8_t* data;          // the panels, of expert 0
  uint64_t stride;              // bytes from expert to expert
  uint64_t offset;              // of data in its record
  uint32_t stored;              // index into File::stored()
  uint32_t type;                // ggml type id of the panels: the source's, but for a low copy
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

  // Tensors of all shards, shard by shard, in the file's order; of a converted file those of the
  // original.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const TensorInfo* find(std::string_view name) const;  // nullptr when absent
  // Copies bytes of a tensor from `begin` on: 0, or why not (errno). Where the file has become
  // shorter, touching `data` ends the process, unless somebody watches. Any thread.
  int read(const TensorInfo& tensor, uint64_t begin, std::span<uint8_t> out) const {
    return shards_[static_cast<size_t>(tensor.shard)].read(tensor.offset + begin, out);
  }

  // One for each path. Without them a file that becomes shorter ends the process when what is
  // missing is touched.
  std::vector<std::unique_ptr<Watch>> watch() const {
    std::vector<std::unique_ptr<Watch>> watches;
    for (const FileBytes& shard : shards_) watches.push_back(shard.watch());
    return watches;
  }

  // Version of the layout of a converted file, 0 for any other; what it holds packed, and the
  // tensors that lie in it.
  uint32_t container_version() const { return container_version_; }
  const std::vector<PackedWeight>& packed() const { return packed_; }
  const std::vector<TensorInfo>& stored() const { return stored_; }
  // The packed rows [begin, end) of a tensor; nullptr when the file does not hold them so.
  const PackedWeight* find_packed(std::string_view source, uint64_t begin, uint64_t end) const;
  // Second records of experts, of fewer bits, sorted by source; and those of a tensor, nullptr
  // where there are none.
  const std::vector<PackedWeight>& low_packed() const { return low_packed_; }
  const PackedWeight* find_low(std::string_view source) const;

 private:
  File() = default;
  [[noreturn]] void fail_type(std::string_view key, const Value& found, const char* expected) const;

  uint32_t version_ = 0;
  std::vector<std::string> paths_;
  std::vector<FileBytes> shards_;
  std::vector<Entry> metadata_;
  std::vector<TensorInfo> tensors_;
  uint32_t container_version_ = 0;
  std::vector<PackedWeight> packed_;  // sorted by source, then by rows
  std::vector<PackedWeight> low_packed_;
  std::vector<TensorInfo> stored_;         // of a converted file
  std::vector<uint32_t> keys_by_name_;     // indices into metadata_, sorted by key
  std::vector<uint32_t> tensors_by_name_;  // indices into tensors_, sorted by name
};

}  // namespace zs::gguf
