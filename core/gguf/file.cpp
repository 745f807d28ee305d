// Opening a model from its shards, and typed access to its metadata.
#include "gguf/file.h"

#include <algorithm>
#include <iterator>
#include <tuple>

#include "gguf/container.h"
#include "gguf/name_index.h"
#include "gguf/report.h"
#include "gguf/shard.h"
#include "gguf/splits.h"

namespace zs::gguf {

std::shared_ptr<File> File::open(const std::string& path, const MapFile& map) {
  std::shared_ptr<File> file(new File());
  file->shards_.push_back(map(path));
  Shard first = parse_shard(path, file->shards_[0].bytes);
  file->paths_ = list_parts(first, path);
  file->version_ = first.version;
  file->tensors_ = std::move(first.tensors);
  for (size_t i = 1; i < file->paths_.size(); ++i) {
    const std::string& part_path = file->paths_[i];
    file->shards_.push_back(map(part_path));
    Shard part = parse_shard(part_path, file->shards_.back().bytes);
    check_part(part, part_path, i, file->paths_.size());
    for (TensorInfo& tensor : part.tensors) tensor.shard = static_cast<int>(i);
    file->tensors_.insert(file->tensors_.end(), std::make_move_iterator(part.tensors.begin()),
                          std::make_move_iterator(part.tensors.end()));
  }
  if (file->paths_.size() > 1) check_total(first, path, file->tensors_.size());
  file->metadata_ = std::move(first.metadata);
  Container container = read_container(path, file->metadata_, file->tensors_);
  file->container_version_ = container.version;
  file->packed_ = std::move(container.weights);
  file->low_packed_ = std::move(container.low);
  file->stored_ = std::move(container.stored);

  file->keys_by_name_ = index_names<&Entry::key>(file->metadata_);
  file->tensors_by_name_ = index_names<&TensorInfo::name>(file->tensors_);
  if (const auto* twice =
          duplicate_name<&TensorInfo::name>(file->tensors_, file->tensors_by_name_)) {
    fail_format(file->paths_[static_cast<size_t>(twice->shard)],
                "tensor '" + printable(twice->name) + "', name", "it twice", "each name once");
  }
  return file;
}

const Value* File::value(std::string_view key) const {
  const Entry* entry = find_name<&Entry::key>(metadata_, keys_by_name_, key);
  return entry != nullptr ? &entry->value : nullptr;
}

const TensorInfo* File::find(std::string_view name) const {
  return find_name<&TensorInfo::name>(tensors_, tensors_by_name_, name);
}

const PackedWeight* File::find_packed(std::string_view source, uint64_t begin, uint64_t end) const {
  const auto key = std::tuple(source, begin, end);
  const auto of = [](const PackedWeight& w) {
    return std::tuple(std::string_view(w.source), w.row_begin, w.row_end);
  };
  const auto at = std::lower_bound(packed_.begin(), packed_.end(), key,
                                   [&](const PackedWeight& w, const auto& k) { return of(w) < k; });
  return at != packed_.end() && of(*at) == key ? &*at : nullptr;
}

const PackedWeight* File::find_low(std::string_view source) const {
  const auto at = std::lower_bound(
      low_packed_.begin(), low_packed_.end(), source,
      [](const PackedWeight& w, std::string_view name) { return w.source < name; });
  return at != low_packed_.end() && at->source == source ? &*at : nullptr;
}

void File::fail_type(std::string_view key, const Value& found, const char* expected) const {
  fail_format(paths_[0], "metadata key '" + printable(key) + "'",
              "a value of type " + std::string(value_type_name(found.type)), expected);
}

std::optional<uint64_t> File::get_uint(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return std::nullopt;
  const std::optional<uint64_t> number = as_uint(*found);
  if (!number) fail_type(key, *found, "an integer that is not negative");
  return number;
}

std::optional<double> File::get_float(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return std::nullopt;
  const std::optional<double> number = as_float(*found);
  if (!number) fail_type(key, *found, "a number");
  return number;
}

std::optional<bool> File::get_bool(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return std::nullopt;
  if (found->type != ValueType::Bool) fail_type(key, *found, "a boolean");
  return *found->data != 0;
}

std::optional<std::string_view> File::get_string(std::string_view key) const {
  const Value* found = value(key);
  if (found == nullptr) return std::nullopt;
  if (found->type != ValueType::String) fail_type(key, *found, "a string");
  const uint8_t* cursor = found->data;
  return next_string(cursor);
}

}  // namespace zs::gguf
