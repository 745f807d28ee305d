// Finding the parts of a split model and checking that they belong together.
#include "gguf/splits.h"

#include "base/error.h"

namespace zs::gguf {
namespace {

constexpr std::string_view kNumber = "split.no";
constexpr std::string_view kCount = "split.count";
constexpr std::string_view kTensors = "split.tensors.count";
constexpr uint64_t kMaxParts = 99999;  // five digits in the name

uint64_t read_key(const Shard& shard, const std::string& path, std::string_view key,
                  uint64_t absent) {
  for (const Entry& entry : shard.metadata) {
    if (entry.key != key) continue;
    if (const std::optional<uint64_t> number = as_uint(entry.value)) return *number;
    fail_format(path, "metadata key '" + entry.key + "'",
                "a value of type " + std::string(value_type_name(entry.value.type)),
                "an integer that is not negative");
  }
  return absent;
}

std::string padded(uint64_t number) {
  const std::string digits = std::to_string(number);
  return std::string(5 - digits.size(), '0') + digits;
}

// How the name of part `index` (from 0) ends.
std::string ending(uint64_t index, uint64_t count) {
  return "-" + padded(index + 1) + "-of-" + padded(count) + ".gguf";
}

// The path of part `index`, given that of part `own`; empty when that is not named as one.
std::string part_path(const std::string& path, uint64_t own, uint64_t index, uint64_t count) {
  const std::string end = ending(own, count);
  if (!path.ends_with(end)) return {};
  return path.substr(0, path.size() - end.size()) + ending(index, count);
}

}  // namespace

std::vector<std::string> list_parts(const Shard& first, const std::string& path) {
  const uint64_t count = read_key(first, path, kCount, 0);
  const uint64_t own = read_key(first, path, kNumber, 0);
  if (count <= 1) return {path};
  if (count > kMaxParts || own >= count) {
    fail_format(path, "metadata keys 'split.no' and 'split.count'",
                std::to_string(own) + " and " + std::to_string(count),
                "a number below a count of at most " + std::to_string(kMaxParts));
  }
  if (own != 0) {
    const std::string other = part_path(path, own, 0, count);
    throw Error(
        ErrorKind::InvalidRequest,
        printable(path, 4096) + ": metadata key 'split.no': found part " + std::to_string(own + 1) +
            " of a model in " + std::to_string(count) + " files, expected the first; open " +
            (other.empty() ? "the file that ends in " + ending(0, count) : printable(other, 4096)));
  }
  std::vector<std::string> paths{path};
  for (uint64_t i = 1; i < count; ++i) {
    paths.push_back(part_path(path, 0, i, count));
    if (paths.back().empty()) {
      fail_format(
          path, "file name",
          "the first part of a model in " + std::to_string(count) + " files under another name",
          "a name that ends in " + ending(0, count),
          "give all parts their original names, in one folder");
    }
  }
  return paths;
}

void check_part(const Shard& part, const std::string& path, uint64_t index, uint64_t count) {
  const uint64_t own = read_key(part, path, kNumber, kMaxParts);
  const uint64_t total = read_key(part, path, kCount, 0);
  if (own != index || total != count) {
    fail_format(path, "metadata keys 'split.no' and 'split.count'",
                std::to_string(own) + " and " + std::to_string(total),
                std::to_string(index) + " and " + std::to_string(count),
                "the parts belong to different models: download them again");
  }
}

void check_total(const Shard& first, const std::string& path, uint64_t tensors) {
  const uint64_t expected = read_key(first, path, kTensors, tensors);
  if (expected != tensors) {
    fail_format(path, "metadata key 'split.tensors.count'",
                std::to_string(tensors) + " tensors in all parts", std::to_string(expected),
                "the parts belong to different models: download them again");
  }
}

}  // namespace zs::gguf
