// The tensor directory: names, shapes, types and offsets, all checked against the file.
#include <algorithm>
#include <numeric>
#include <string>

#include "base/error.h"
#include "gguf/shard.h"
#include "gguf/types.h"

namespace zs::gguf {
namespace {

constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxNameBytes = 65535;
constexpr uint32_t kMaxDims = 4;

std::string shape_text(const TensorInfo& tensor) {
  std::string text = "[";
  for (int i = 0; i < tensor.n_dims; ++i) {
    text += (i != 0 ? ", " : "") + std::to_string(tensor.dims[i]);
  }
  return text + "]";
}

std::string read_name(Cursor& cursor) {
  const std::string_view name = cursor.read_string("name length");
  if (name.empty() || name.size() > kMaxNameBytes) {
    cursor.fail("name length", std::to_string(name.size()),
                "1 to " + std::to_string(kMaxNameBytes) + " bytes");
  }
  if (!is_utf8(name)) cursor.fail("name", "'" + printable(name) + "'", "UTF-8 text");
  return std::string(name);
}

void read_shape(Cursor& cursor, TensorInfo& tensor) {
  const auto n_dims = cursor.read<uint32_t>("number of dimensions");
  if (n_dims > kMaxDims) {
    cursor.fail("number of dimensions", std::to_string(n_dims), "at most 4");
  }
  tensor.n_dims = static_cast<int>(n_dims);
  for (uint32_t i = 0; i < kMaxDims; ++i) {
    tensor.dims[i] = i < n_dims ? cursor.read<uint64_t>("dimensions") : 1;
  }
  for (uint64_t dim : tensor.dims) {
    if (dim == 0) cursor.fail("dimensions", shape_text(tensor), "none of them 0");
  }
}

const GgmlType& read_type(Cursor& cursor, const std::string& path) {
  const auto id = cursor.read<uint32_t>("type");
  const GgmlType* type = ggml_type(id);
  if (type != nullptr && type->block_bytes != 0) return *type;
  const std::string found =
      type != nullptr ? "type " + std::string(type->name) + ", which was withdrawn from the format"
                      : "type id " + std::to_string(id) + ", which is unknown";
  throw Error(ErrorKind::UnsupportedModel,
              printable(path, 4096) + ": " + cursor.subject() + ": found " + found +
                  "; convert the model again to a current format such as Q8_0 or Q4_K");
}

uint64_t data_bytes(const Cursor& cursor, const TensorInfo& tensor, const GgmlType& type) {
  if (tensor.dims[0] % type.block_values != 0) {
    cursor.fail("row length", std::to_string(tensor.dims[0]),
                "a multiple of " + std::to_string(type.block_values) + ", the block of " +
                    std::string(type.name));
  }
  uint64_t bytes = type.block_bytes;
  const uint64_t factors[] = {tensor.dims[0] / type.block_values, tensor.dims[1], tensor.dims[2],
                              tensor.dims[3]};
  for (uint64_t factor : factors) {
    if (__builtin_mul_overflow(bytes, factor, &bytes)) {
      cursor.fail("dimensions", shape_text(tensor), "a size below 2^64 bytes");
    }
  }
  return bytes;
}

// Offsets are relative to the data section, which begins at `start`; makes them absolute.
void place(Cursor& cursor, std::vector<TensorInfo>& tensors, uint64_t start,
           std::span<const uint8_t> file) {
  for (TensorInfo& tensor : tensors) {
    cursor.set_subject("tensor", tensor.name);
    const uint64_t section = file.size() > start ? file.size() - start : 0;
    if (tensor.offset > section || tensor.bytes > section - tensor.offset) {
      cursor.fail("data",
                  std::to_string(tensor.bytes) + " bytes at offset " +
                      std::to_string(tensor.offset) + " of the data section",
                  "an end within its " + std::to_string(section) + " bytes",
                  "the file is truncated or damaged: download or convert it again");
    }
    tensor.offset += start;
    tensor.data = file.data() + tensor.offset;
  }
}

void check_overlaps(Cursor& cursor, const std::vector<TensorInfo>& tensors) {
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return tensors[a].offset < tensors[b].offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const TensorInfo& before = tensors[order[i - 1]];
    const TensorInfo& tensor = tensors[order[i]];
    if (before.offset + before.bytes > tensor.offset) {
      cursor.set_subject("tensor", tensor.name);
      cursor.fail("offset",
                  "data at byte " + std::to_string(tensor.offset) + ", inside tensor '" +
                      printable(before.name) + "'",
                  "no overlap");
    }
  }
}

}  // namespace

std::vector<TensorInfo> parse_directory(Cursor& cursor, const std::string& path, uint64_t count,
                                        uint64_t alignment, std::span<const uint8_t> bytes) {
  cursor.set_subject("header", 0);
  if (count > kMaxTensors) {
    cursor.fail("tensor count", std::to_string(count), "at most " + std::to_string(kMaxTensors));
  }
  cursor.need(count, 8 + 1 + 4 + 4 + 8, "tensor count");  // name, number of dims, type, offset
  std::vector<TensorInfo> tensors;
  for (uint64_t i = 0; i < count; ++i) {
    cursor.set_subject("tensor entry", i + 1);
    TensorInfo tensor{};
    tensor.name = read_name(cursor);
    cursor.set_subject("tensor", tensor.name);
    read_shape(cursor, tensor);
    const GgmlType& type = read_type(cursor, path);
    tensor.type = type.id;
    tensor.bytes = data_bytes(cursor, tensor, type);
    tensor.offset = cursor.read<uint64_t>("offset");
    if (tensor.offset % alignment != 0) {
      cursor.fail("offset", std::to_string(tensor.offset),
                  "a multiple of the alignment, " + std::to_string(alignment));
    }
    tensors.push_back(std::move(tensor));
  }
  const uint64_t start = (cursor.position() + alignment - 1) / alignment * alignment;
  place(cursor, tensors, start, bytes);
  check_overlaps(cursor, tensors);
  return tensors;
}

}  // namespace zs::gguf
