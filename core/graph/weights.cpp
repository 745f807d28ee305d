// Looks tensors up and checks their shapes against the operator's.
#include "graph/weights.h"

#include <algorithm>
#include <array>
#include <system_error>

#include "base/error.h"
#include "gguf/report.h"
#include "gguf/types.h"

namespace zs::graph {
namespace {

std::string shape_text(const gguf::TensorInfo& tensor) {
  std::string text = "[";
  for (int i = tensor.n_dims; i-- > 0;) {
    text += std::to_string(tensor.dims[i]) + (i ? ", " : "");
  }
  return text + "]";
}

[[noreturn]] void wrong_shape(const gguf::TensorInfo& tensor, const std::string& user,
                              const std::string& expected) {
  throw Error(ErrorKind::ModelFormat, user + "tensor '" + tensor.name + "' has shape " +
                                          shape_text(tensor) + ", expected " + expected +
                                          "; the file does not match its metadata");
}

void need_raw(const gguf::TensorInfo& tensor, const std::string& user) {
  if (!tensor.packed) return;
  throw Error(ErrorKind::ModelFormat, user + "tensor '" + tensor.name +
                                          "' is stored packed, but is used as it was; convert the "
                                          "original model again");
}

// Throws Storage.
void copy_bytes(const gguf::File& file, const gguf::TensorInfo& tensor, uint64_t begin,
                std::span<uint8_t> out) {
  const int error = file.read(tensor, begin, out);
  if (error == 0) return;
  const std::string cause =
      error == io::kEndOfFile ? "the file ends before; it was cut short: fetch or convert it again"
                              : std::generic_category().message(error) + "; check the drive";
  throw Error(ErrorKind::Storage,
              gguf::printable(file.paths()[static_cast<size_t>(tensor.shard)], 4096) +
                  ": reading tensor '" + gguf::printable(tensor.name) + "' failed, at byte " +
                  std::to_string(tensor.offset + begin) + ": " + cause);
}

}  // namespace

void RawRows::read(size_t row, uint8_t* out) const {
  copy_bytes(*file, *tensor, (begin + row) * row_bytes, {out, row_bytes});
}

WeightStore::Source WeightStore::find(const WeightRef& ref, const std::string& user,
                                      int dims) const {
  const gguf::TensorInfo* tensor = file_->find(ref.name);
  if (!tensor) {
    throw Error(ErrorKind::ModelFormat, user + "tensor '" + ref.name +
                                            "' is missing from the file; it is incomplete or of "
                                            "another architecture than it says");
  }
  const quant::FormatTraits* traits = quant::traits_by_gguf_id(tensor->type);
  if (!traits) {
    const gguf::GgmlType* type = gguf::ggml_type(tensor->type);
    throw Error(ErrorKind::UnsupportedModel,
                user + "tensor '" + tensor->name + "' is stored as " +
                    (type ? std::string(type->name) : "type " + std::to_string(tensor->type)) +
                    ", which has no kernel here; use a model quantised to another format");
  }
  for (int i = dims; i < tensor->n_dims; ++i) {
    if (tensor->dims[i] != 1) wrong_shape(*tensor, user, std::to_string(dims) + " dimensions");
  }
  // A slice is along the output dimension: rows of a matrix, values of a vector.
  Source source{tensor, traits, 0, tensor->dims[dims == 1 ? 0 : 1], tensor->dims[0], 0};
  const int64_t total = static_cast<int64_t>(source.rows);
  const int64_t end = ref.row_end < 0 ? total : ref.row_end;
  if (ref.row_begin < 0 || ref.row_begin >= end || end > total) {
    wrong_shape(*tensor, user,
                "at least " + std::to_string(end) + (dims == 1 ? " values" : " rows"));
  }
  source.row_begin = ref.row_begin;
  source.rows = end - ref.row_begin;
  source.row_bytes = quant::row_bytes(traits->format, source.columns);
  return source;
}

const PackedExperts& WeightStore::declare(const WeightRef& ref, const Source& source,
                                          const std::string& user, size_t experts) {
  const DeclaredWeight name{ref.name, source.row_begin, source.row_begin + source.rows, experts};
  for (const auto& known : declared_) {
    if (known->name.name == name.name && known->name.row_begin == name.row_begin &&
        known->name.row_end == name.row_end) {
      return known->weight;
    }
  }
  auto entry = std::make_unique<Declared>();
  entry->name = name;
  entry->tensor = source.tensor;
  entry->weight.first.format = source.traits->format;
  entry->weight.first.rows = source.rows;
  entry->weight.first.columns = source.columns;
  entry->weight.experts = experts;
  entry->weight.stride = entry->weight.first.bytes();
  entry->packed = file_->find_packed(ref.name, name.row_begin, name.row_end);
  entry->streamed = streaming_ && source.tensor->n_dims > 2;
  if (entry->streamed) {
    if (!entry->packed) need_raw(*source.tensor, user);
  } else if (const auto* packed = entry->packed) {
    entry->weight.first.data = packed->data;
    entry->weight.stride = packed->stride;
    if (stored_.insert(packed->stored).second) {
      stored_bytes_ += file_->stored()[packed->stored].bytes;
    }
  } else {
    need_raw(*source.tensor, user);
    entry->source = source.tensor->data + source.row_begin * source.row_bytes;
    entry->row_stride = source.row_bytes;
    entry->in_memory = true;
    entry->offset = packed_bytes_;
    packed_bytes_ += round_up(entry->weight.first.bytes() * experts, 64);
  }
  declared_.push_back(std::move(entry));
  return declared_.back()->weight;
}

const PackedMatrix& WeightStore::matrix(const WeightRef& ref, const std::string& user, size_t rows,
                                        size_t columns) {
  const Source source = find(ref, user, 2);
  if ((rows && source.rows != rows) || (columns && source.columns != columns)) {
    wrong_shape(*source.tensor, user,
                "[" + (rows ? std::to_string(rows) : "any") + ", " +
                    (columns ? std::to_string(columns) : "any") + "]");
  }
  return declare(ref, source, user, 1).first;
}

const PackedExperts& WeightStore::experts(const WeightRef& ref, const std::string& user,
                                          size_t experts, size_t rows, size_t columns) {
  const Source source = find(ref, user, 3);
  if (source.tensor->dims[2] != experts || (rows && source.rows != rows) ||
      (columns && source.columns != columns)) {
    wrong_shape(*source.tensor, user,
                "[" + std::to_string(experts) + ", " + (rows ? std::to_string(rows) : "any") +
                    ", " + (columns ? std::to_string(columns) : "any") + "]");
  }
  if (ref.row_begin != 0 || ref.row_end >= 0) {
    throw Error(ErrorKind::InvalidRequest, user + "expert tensors are used whole, not in slices");
  }
  return declare(ref, source, user, experts);
}

const WeightStore::Declared& WeightStore::declared_of(const PackedExperts& weight) const {
  return **std::find_if(declared_.begin(), declared_.end(),
                        [&](const auto& entry) { return &entry->weight == &weight; });
}

std::optional<size_t> WeightStore::stream(const PackedExperts& gate, const PackedExperts& up,
                                          const PackedExperts& down, size_t used,
                                          const std::string& user) {
  if (!streaming_) return std::nullopt;
  experts::Layer& layer = expert_layers_.emplace_back();
  layer.experts = gate.experts;
  layer.used = used;
  const std::array<const Declared*, experts::Layer::kParts> parts = {
      &declared_of(gate), &declared_of(up), &declared_of(down)};
  size_t end = 0;
  for (size_t p = 0; p < parts.size(); ++p) {
    const Declared& entry = *parts[p];
    experts::Part& part = layer.parts[p];
    const PackedMatrix& m = entry.weight.first;
    part.format = m.format;
    part.rows = m.rows;
    part.columns = m.columns;
    part.file = static_cast<uint32_t>(entry.tensor->shard);
    part.offset = entry.tensor->offset;
    part.bytes = m.rows * quant::row_bytes(m.format, m.columns);
    part.packed_at = entry.packed ? entry.packed->offset : round_up(end, 64);
    end = part.packed_at + part.packed_bytes();
  }
  layer.slot_bytes = round_up(end, io::kReadAlign);
  if (parts[0]->packed || parts[1]->packed || parts[2]->packed) {
    place_records(layer, {parts[0]->packed, parts[1]->packed, parts[2]->packed}, user);
  }
  if (low_) add_low_copy(parts, user);
  return expert_layers_.size() - 1;
}

// Gate, up and down lie in one record of each expert.
void WeightStore::place_records(experts::Layer& layer, const Records& parts,
                                const std::string& user) const {
  for (const gguf::PackedWeight* part : parts) {
    if (!part || !parts[0] || part->stored != parts[0]->stored) {
      throw Error(ErrorKind::ModelFormat,
                  user + "expert tensors do not lie in one record; convert the model again");
    }
  }
  const gguf::TensorInfo& records = file_->stored()[parts[0]->stored];
  layer.record = true;
  layer.file = static_cast<uint32_t>(records.shard);
  layer.offset = records.offset;
  layer.slot_bytes = parts[0]->stride;
  if (layer.offset % io::kReadAlign != 0 || layer.slot_bytes % io::kReadAlign != 0) {
    throw Error(ErrorKind::ModelFormat, user + "the records of tensor '" + records.name +
                                            "' do not begin on pages; convert the model again");
  }
}

void WeightStore::add_low_copy(const std::array<const Declared*, experts::Layer::kParts>& parts,
                               const std::string& user) {
  experts::Layer& layer = low_layers_.emplace_back(expert_layers_.back());
  Records records;
  for (size_t p = 0; p < parts.size(); ++p) {
    records[p] = file_->find_low(parts[p]->name.name);
    if (!records[p]) {
      throw Error(ErrorKind::InvalidRequest,
                  user + "tensor '" + parts[p]->name.name +
                      "' has no low copy in the file; make one with `zerostall convert MODEL "
                      "OUT.gguf --miss-copy Q2_K`, or leave miss_precision at full");
    }
    layer.parts[p].format = quant::traits_by_gguf_id(records[p]->type)->format;
    layer.parts[p].packed_at = records[p]->offset;
  }
  if (!layer.record) {
    throw Error(ErrorKind::ModelFormat,
                user + "experts have low copies but no records; convert the model again");
  }
  place_records(layer, records, user);
}

RawRows WeightStore::raw_rows(const WeightRef& ref, const std::string& user, size_t columns) {
  const Source source = find(ref, user, 2);
  if (source.columns != columns) {
    wrong_shape(*source.tensor, user, "[any, " + std::to_string(columns) + "]");
  }
  need_raw(*source.tensor, user);
  used_raw_.insert(ref.name);
  return {source.traits, file_.get(),    source.tensor,   source.row_begin,
          source.rows,   source.columns, source.row_bytes};
}

const float* WeightStore::vector(const WeightRef& ref, const std::string& user, size_t length) {
  const Source source = find(ref, user, 1);
  const size_t block = source.traits->block_values;
  if (source.rows != length || source.row_begin % block != 0 || length % block != 0) {
    wrong_shape(*source.tensor, user, "[" + std::to_string(length) + "]");
  }
  return floats(source, user, source.row_begin, length);
}

const float* WeightStore::vectors(const WeightRef& ref, const std::string& user, size_t count,
                                  size_t length) {
  const Source source = find(ref, user, 2);
  if (source.rows != count || source.columns != length) {
    wrong_shape(*source.tensor, user,
                "[" + std::to_string(count) + ", " + std::to_string(length) + "]");
  }
  return floats(source, user, source.row_begin * length, count * length);
}

// `begin` and `count` are whole blocks.
const float* WeightStore::floats(const Source& source, const std::string& user, size_t begin,
                                 size_t count) {
  need_raw(*source.tensor, user);
  used_raw_.insert(source.tensor->name);
  const size_t block = source.traits->block_values;
  vectors_.push_back(std::make_unique<std::vector<float>>(count));
  vector_bytes_ += count * sizeof(float);
  std::vector<uint8_t> bytes(count / block * source.traits->block_bytes);
  copy_bytes(*file_, *source.tensor, begin / block * source.traits->block_bytes, bytes);
  source.traits->decode(bytes.data(), vectors_.back()->data(), count / block);
  return vectors_.back()->data();
}

std::vector<DeclaredWeight> WeightStore::declared() const {
  std::vector<DeclaredWeight> list;
  for (const auto& entry : declared_) list.push_back(entry->name);
  return list;
}

}  // namespace zs::graph
