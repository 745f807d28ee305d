// Everything is appended to one block of bytes, which is hashed.
#include "graph/identity.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/xxh3.h"
#include "io/plain_file.h"

namespace zs::graph {
namespace {

constexpr uint64_t kHeadBytes = uint64_t{1} << 20;  // metadata and the directory of tensors
constexpr uint64_t kTensorBytes = 64;
constexpr size_t kLeastBytes = 256;  // base/xxh3.h

class Block {
 public:
  template <class T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    const auto* begin = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), begin, begin + sizeof(value));
  }

  void text(const std::string& text) {
    number(text.size());
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }

  template <class T>
  void numbers(const std::vector<T>& values) {
    number(values.size());
    for (const T value : values) number(value);
  }

  // As many bytes of the file as it has.
  void read(const io::PlainFile& file, uint64_t offset, uint64_t bytes) {
    const uint64_t end = std::min(file.size(), offset + bytes);
    const size_t begin = bytes_.size();
    if (end <= offset) return;
    bytes_.resize(begin + (end - offset));
    file.read(offset, std::span(bytes_).subspan(begin));
  }

  uint64_t hash() {
    bytes_.resize(std::max(bytes_.size(), kLeastBytes));
    return xxh3_64(bytes_.data(), bytes_.size());
  }

 private:
  std::vector<uint8_t> bytes_;
};

void add(Block& block, const Attribute& attribute) {
  block.number(attribute.index());
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          block.text(value);
        } else if constexpr (std::is_arithmetic_v<T>) {
          block.number(value);
        } else {
          block.numbers(value);
        }
      },
      attribute);
}

void add(Block& block, const TapeSpec& tape) {
  block.numbers(tape.widths);
  for (const OpSpec& op : tape.ops) {
    block.text(op.kind);
    block.numbers(op.inputs);
    block.numbers(op.outputs);
    block.number(op.weights.size());
    for (const WeightRef& ref : op.weights) {
      block.text(ref.name);
      block.number(ref.row_begin);
      block.number(ref.row_end);
    }
    block.number(op.attrs.size());
    for (const auto& [name, attribute] : op.attrs) {
      block.text(name);
      add(block, attribute);
    }
  }
}

}  // namespace

uint64_t identity(const Program& program, kernels::Isa isa) {
  Block block;
  const gguf::File& file = program.file();
  for (size_t shard = 0; shard < file.paths().size(); ++shard) {
    const io::PlainFile bytes(file.paths()[shard]);
    block.number(bytes.size());
    if (shard == 0) block.read(bytes, 0, kHeadBytes);
    for (const gguf::TensorInfo& tensor : file.tensors()) {
      if (static_cast<size_t>(tensor.shard) != shard) continue;
      block.read(bytes, tensor.offset, std::min(tensor.bytes, kTensorBytes));
    }
  }
  add(block, program.tape());
  // The others have the same bits (docs/adr/0001-same-bits-everywhere.md).
  block.number(kernels::rounds_to_bf16(isa));
  block.number(program.options().experts.route_margin);
  // Only where it is on, so that states of before it was there are still taken.
  if (program.options().experts.low_copies) block.text("low copies");
  return block.hash();
}

}  // namespace zs::graph
