// Checks every number of a converted file's index against the stored tensors it points into.
#include "gguf/container.h"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>

#include "base/error.h"
#include "gguf/name_index.h"
#include "gguf/report.h"
#include "gguf/types.h"
#include "quant/format.h"

namespace zs::gguf {
namespace {

// What says of packed weights where they lie, one value (dims: four, rows: two) for each.
struct Keys {
  std::string_view tensor, source, format, dims, rows, offset;
};
constexpr Keys kPackedKeys = {"zerostall.packed.tensor", "zerostall.packed.source",
                              "zerostall.packed.format", "zerostall.packed.dims",
                              "zerostall.packed.rows",   "zerostall.packed.offset"};
constexpr Keys kLowKeys = {"zerostall.low.tensor", "zerostall.low.source", "zerostall.low.format",
                           "zerostall.low.dims",   "zerostall.low.rows",   "zerostall.low.offset"};
constexpr std::string_view kByteType = "I8";
constexpr uint64_t kMostDims = 4;
constexpr size_t kMostNameBytes = 65535;  // as in the directory

using Numbers = std::array<uint64_t, kMostDims>;

bool multiply(uint64_t& product, uint64_t factor) {
  return !__builtin_mul_overflow(product, factor, &product);
}

class Index {
 public:
  Index(const std::string& path, const std::vector<Entry>& metadata,
        const std::vector<TensorInfo>& stored, const Keys& keys)
      : path_(path),
        keys_(keys),
        stored_(stored),
        by_name_(index_names<&TensorInfo::name>(stored)),
        tensor_(array(metadata, keys_.tensor, ValueType::String)),
        source_(array(metadata, keys_.source, ValueType::String)),
        format_(array(metadata, keys_.format, ValueType::U32)),
        dims_(array(metadata, keys_.dims, ValueType::U64)),
        rows_(array(metadata, keys_.rows, ValueType::U64)),
        offset_(array(metadata, keys_.offset, ValueType::U64)),
        next_tensor_(tensor_.data),
        next_source_(source_.data) {
    const uint64_t count = tensor_.count;
    expect_count(keys_.source, source_, count);
    expect_count(keys_.format, format_, count);
    expect_count(keys_.dims, dims_, count * kMostDims);
    expect_count(keys_.rows, rows_, count * 2);
    expect_count(keys_.offset, offset_, count);
  }

  uint64_t count() const { return tensor_.count; }

  // Entry `i`, in turn: the packed weight, and the tensor of the original that it is (part) of.
  void read(uint64_t i, PackedWeight& weight, TensorInfo& source) {
    const std::string_view name = next_string(next_tensor_);
    weight.source = std::string(next_string(next_source_));
    at_ = i;
    if (weight.source.empty() || weight.source.size() > kMostNameBytes || !is_utf8(weight.source)) {
      fail(keys_.source, "'" + printable(weight.source) + "'", "the name of a tensor, in UTF-8");
    }
    const TensorInfo* stored = find_name<&TensorInfo::name>(stored_, by_name_, name);
    if (stored == nullptr) fail(keys_.tensor, "'" + printable(name) + "'", "a tensor of the file");
    weight.stored = static_cast<uint32_t>(stored - stored_.data());
    source = describe(i, *stored, weight.source);
    weight.type = source.type;
    place(i, *stored, source, weight);
    source.data = weight.data;
    source.packed = true;
  }

  [[noreturn]] void fail_dims(const std::string& found, const std::string& expected) const {
    fail(keys_.dims, found, expected);
  }

  [[noreturn]] void fail(std::string_view key, const std::string& found,
                         const std::string& expected) const {
    fail_format(path_, "metadata key '" + std::string(key) + "', entry " + std::to_string(at_ + 1),
                found, expected, "the file is damaged: convert the model again");
  }

 private:
  Value array(const std::vector<Entry>& metadata, std::string_view key, ValueType element) const {
    for (const Entry& entry : metadata) {
      if (entry.key != key) continue;
      const Value& value = entry.value;
      if (value.type == ValueType::Array && value.element == element) return value;
      fail_key(key, "a value of another type",
               "an array of " + std::string(value_type_name(element)));
    }
    fail_key(key, "nothing", "an array, as in every converted file");
  }

  [[noreturn]] void fail_key(std::string_view key, const std::string& found,
                             const std::string& expected) const {
    fail_format(path_, "metadata key '" + std::string(key) + "'", found, expected,
                "the file is damaged: convert the model again");
  }

  void expect_count(std::string_view key, const Value& value, uint64_t expected) const {
    if (value.count == expected) return;
    fail_key(key, std::to_string(value.count) + " values", std::to_string(expected));
  }

  uint64_t number(const Value& array, uint64_t i) const {
    return load<uint64_t>(array.data + i * sizeof(uint64_t));
  }

  // Format and shape of the original's tensor.
  TensorInfo describe(uint64_t i, const TensorInfo& stored, const std::string& name) const {
    const auto id = load<uint32_t>(format_.data + i * sizeof(uint32_t));
    const quant::FormatTraits* traits = quant::traits_by_gguf_id(id);
    if (!traits) fail(keys_.format, "type id " + std::to_string(id), "a format that runs");
    TensorInfo tensor{};
    tensor.name = name;
    tensor.type = id;
    tensor.shard = stored.shard;
    tensor.n_dims = 0;
    tensor.bytes = traits->block_bytes;
    for (uint64_t d = 0; d < kMostDims; ++d) {
      const uint64_t dim = number(dims_, i * kMostDims + d);
      tensor.dims[d] = dim == 0 ? 1 : dim;
      if (dim != 0) tensor.n_dims = static_cast<int>(d) + 1;
      const uint64_t factor = d == 0 ? dim / traits->block_values : tensor.dims[d];
      if ((d < 2 && dim == 0) || (d == 3 && dim != 0) || !multiply(tensor.bytes, factor)) {
        fail(keys_.dims, std::to_string(dim),
             "2 or 3 dimensions, of less than 2^64 bytes together");
      }
    }
    if (tensor.dims[0] % traits->block_values != 0) {
      fail(keys_.dims, std::to_string(tensor.dims[0]),
           "a multiple of " + std::to_string(traits->block_values) + ", the block of " +
               std::string(traits->name));
    }
    return tensor;
  }

  // Where the panels are.
  void place(uint64_t i, const TensorInfo& stored, TensorInfo& source, PackedWeight& weight) const {
    weight.row_begin = number(rows_, 2 * i);
    weight.row_end = number(rows_, 2 * i + 1);
    weight.offset = number(offset_, i);
    weight.experts = source.dims[2];
    const bool records = source.n_dims == 3;
    const bool whole = weight.row_begin == 0 && weight.row_end == source.dims[1];
    if (weight.row_begin >= weight.row_end || weight.row_end > source.dims[1] ||
        (records && !whole)) {
      fail(keys_.rows, std::to_string(weight.row_begin) + " to " + std::to_string(weight.row_end),
           records ? "all rows of an expert"
                   : "rows of a matrix that has " + std::to_string(source.dims[1]));
    }
    const quant::Format format = quant::traits_by_gguf_id(source.type)->format;
    // Rounding rows up to whole panels cannot overflow: they have at least a byte each.
    uint64_t bytes =
        (weight.row_end - weight.row_begin + quant::kPanelRows - 1) / quant::kPanelRows;
    const bool fits = multiply(bytes, quant::row_bytes(format, source.dims[0])) &&
                      multiply(bytes, quant::kPanelRows);
    if (ggml_type(stored.type)->name != kByteType || stored.n_dims != (records ? 2 : 1) ||
        stored.dims[1] != weight.experts) {
      fail(keys_.tensor, "'" + printable(stored.name) + "' of another type or shape",
           records ? "I8, a record for each of " + std::to_string(weight.experts) + " experts"
                   : "I8, of one dimension");
    }
    weight.stride = stored.dims[0];
    if (!fits || weight.offset > weight.stride || bytes > weight.stride - weight.offset) {
      fail(keys_.offset, std::to_string(weight.offset),
           "panels within the " + std::to_string(weight.stride) + " bytes of '" +
               printable(stored.name) + "'");
    }
    if ((stored.offset | weight.offset | (records ? weight.stride : 0)) % kPanelAlignment != 0) {
      fail(keys_.offset, "panels at byte " + std::to_string(stored.offset + weight.offset),
           "a multiple of " + std::to_string(kPanelAlignment));
    }
    weight.data = stored.data + weight.offset;
    source.offset = stored.offset + weight.offset;
  }

  const std::string& path_;
  const Keys& keys_;
  const std::vector<TensorInfo>& stored_;
  std::vector<uint32_t> by_name_;
  Value tensor_, source_, format_, dims_, rows_, offset_;
  const uint8_t *next_tensor_, *next_source_;
  uint64_t at_ = 0;
};

bool same_tensor(const TensorInfo& a, const TensorInfo& b) {
  return a.type == b.type && a.n_dims == b.n_dims && std::equal(a.dims, a.dims + 4, b.dims);
}

uint32_t find_version(const std::string& path, const std::vector<Entry>& metadata) {
  const auto entry = std::find_if(metadata.begin(), metadata.end(),
                                  [](const Entry& e) { return e.key == kContainerKey; });
  if (entry == metadata.end()) return 0;
  const std::optional<uint64_t> version = as_uint(entry->value);
  if (version == kContainerVersion || version == kLowCopyVersion) {
    return static_cast<uint32_t>(*version);
  }
  throw Error(ErrorKind::UnsupportedModel,
              printable(path, 4096) + ": metadata key '" + std::string(kContainerKey) +
                  "': found " + (version ? std::to_string(*version) : "no number") + ", expected " +
                  std::to_string(kContainerVersion) + " or " + std::to_string(kLowCopyVersion) +
                  "; convert the original model again with this zerostall, or use the one that "
                  "made the file");
}

struct Entries {
  std::vector<PackedWeight> weights;
  std::vector<TensorInfo> sources;  // what each is (part) of
};

Entries read_all(Index& index) {
  Entries entries;
  for (uint64_t i = 0; i < index.count(); ++i) {
    index.read(i, entries.weights.emplace_back(), entries.sources.emplace_back());
  }
  return entries;
}

bool in_order(const PackedWeight& a, const PackedWeight& b) {
  return std::tie(a.source, a.row_begin, a.row_end) < std::tie(b.source, b.row_begin, b.row_end);
}

// Second records of experts of `tensors`, sorted.
std::vector<PackedWeight> checked_low(const Index& index, Entries low,
                                      const std::vector<TensorInfo>& tensors) {
  auto& [weights, sources] = low;
  const std::vector<uint32_t> by_name = index_names<&TensorInfo::name>(tensors);
  for (const TensorInfo& source : sources) {
    const TensorInfo* tensor = find_name<&TensorInfo::name>(tensors, by_name, source.name);
    if (!tensor || source.n_dims != 3 || tensor->n_dims != 3 ||
        !std::equal(source.dims, source.dims + kMostDims, tensor->dims)) {
      index.fail_dims("a shape other than that of '" + printable(source.name) + "'",
                      "that of experts of the model");
    }
  }
  std::sort(weights.begin(), weights.end(), in_order);
  for (size_t i = 1; i < weights.size(); ++i) {
    if (weights[i].source != weights[i - 1].source) continue;
    index.fail_dims("'" + printable(weights[i].source) + "' twice", "each tensor once");
  }
  return std::move(weights);
}

}  // namespace

Container read_container(const std::string& path, const std::vector<Entry>& metadata,
                         std::vector<TensorInfo>& tensors) {
  Container container;
  container.version = find_version(path, metadata);
  if (container.version == 0) return container;
  container.stored = tensors;
  Index index(path, metadata, container.stored, kPackedKeys);
  auto [weights, sources] = read_all(index);
  container.weights = std::move(weights);
  std::vector<bool> holds_packed(tensors.size());
  for (const PackedWeight& weight : container.weights) holds_packed[weight.stored] = true;
  std::optional<Index> low;
  Entries entries;
  if (container.version == kLowCopyVersion) {
    entries = read_all(low.emplace(path, metadata, container.stored, kLowKeys));
    for (const PackedWeight& weight : entries.weights) holds_packed[weight.stored] = true;
  }
  std::vector<TensorInfo> original;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!holds_packed[i]) original.push_back(std::move(tensors[i]));
  }
  // A tensor may be there as it was, too (tied embeddings), or in several slices.
  const std::vector<uint32_t> kept = index_names<&TensorInfo::name>(original);
  const std::vector<uint32_t> order = index_names<&TensorInfo::name>(sources);
  std::vector<TensorInfo> added;
  for (const uint32_t i : order) {
    const TensorInfo* twin = find_name<&TensorInfo::name>(original, kept, sources[i].name);
    if (!twin && !added.empty() && added.back().name == sources[i].name) twin = &added.back();
    if (!twin) {
      added.push_back(sources[i]);
    } else if (!same_tensor(*twin, sources[i])) {
      index.fail_dims("two shapes or formats of '" + printable(twin->name) + "'", "one");
    }
  }
  original.insert(original.end(), added.begin(), added.end());
  tensors = std::move(original);
  std::sort(container.weights.begin(), container.weights.end(), in_order);
  if (low) container.low = checked_low(*low, std::move(entries), tensors);
  return container;
}

}  // namespace zs::gguf
