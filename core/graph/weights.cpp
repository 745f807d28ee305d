// Looks tensors up, checks their shapes against the operator's, and packs them.
#include "graph/weights.h"

#include <algorithm>
#include <atomic>
#include <exception>

#include "base/error.h"
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

// About 1 MiB of source a job: enough to amortise the counter, small enough to share evenly.
constexpr size_t kPackJobBytes = size_t{1} << 20;

}  // namespace

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
                                          size_t experts) {
  const std::string key = ref.name + "[" + std::to_string(source.row_begin) + ":" +
                          std::to_string(source.row_begin + source.rows) + "]";
  for (const auto& known : declared_) {
    if (known->key == key) return known->weight;
  }
  auto entry = std::make_unique<Declared>();
  entry->key = key;
  entry->weight.first.format = source.traits->format;
  entry->weight.first.rows = source.rows;
  entry->weight.first.columns = source.columns;
  entry->weight.experts = experts;
  entry->source = source.tensor->data + source.row_begin * source.row_bytes;
  entry->row_stride = source.row_bytes;
  entry->offset = packed_bytes_;
  packed_bytes_ += round_up(entry->weight.first.bytes() * experts, 64);
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
  return declare(ref, source, 1).first;
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
  return declare(ref, source, experts);
}

RawRows WeightStore::raw_rows(const WeightRef& ref, const std::string& user, size_t columns) {
  const Source source = find(ref, user, 2);
  if (source.columns != columns) {
    wrong_shape(*source.tensor, user, "[any, " + std::to_string(columns) + "]");
  }
  return {source.traits, source.tensor->data + source.row_begin * source.row_bytes, source.rows,
          source.columns, source.row_bytes};
}

const float* WeightStore::vector(const WeightRef& ref, const std::string& user, size_t length) {
  const Source source = find(ref, user, 1);
  const size_t block = source.traits->block_values;
  if (source.rows != length || source.row_begin % block != 0 || length % block != 0) {
    wrong_shape(*source.tensor, user, "[" + std::to_string(length) + "]");
  }
  vectors_.push_back(std::make_unique<std::vector<float>>(length));
  source.traits->decode(source.tensor->data + source.row_begin / block * source.traits->block_bytes,
                        vectors_.back()->data(), length / block);
  return vectors_.back()->data();
}

void WeightStore::load(ThreadPool& pool, const std::function<void(size_t, size_t)>& progress) {
  memory_ = AlignedBuffer(packed_bytes_, "the packed weights");
  struct Job {
    const Declared* weight;
    size_t expert, panel_begin, panel_end;
  };
  std::vector<Job> jobs;
  for (auto& entry : declared_) {
    entry->weight.first.data = memory_.data() + entry->offset;
    const PackedMatrix& m = entry->weight.first;
    const size_t panel = quant::panel_bytes(m.format, m.columns);
    const size_t step = std::max<size_t>(1, kPackJobBytes / panel);
    for (size_t expert = 0; expert < entry->weight.experts; ++expert) {
      for (size_t p = 0; p < m.panels(); p += step) {
        jobs.push_back({entry.get(), expert, p, std::min(p + step, m.panels())});
      }
    }
  }
  std::atomic<size_t> next{0}, done{0};
  std::exception_ptr given_up;
  pool.run([&](int thread) {
    for (size_t i; (i = next.fetch_add(1)) < jobs.size();) {
      const Job& job = jobs[i];
      const PackedMatrix& m = job.weight->weight.first;
      const auto& traits = quant::traits(m.format);
      const size_t stride = job.weight->row_stride;
      const uint8_t* source = job.weight->source + job.expert * m.rows * stride;
      const size_t panel = quant::panel_bytes(m.format, m.columns);
      uint8_t* out = memory_.data() + job.weight->offset + job.expert * m.bytes();
      for (size_t p = job.panel_begin; p < job.panel_end; ++p) {
        const size_t row = p * quant::kPanelRows;
        traits.pack(source + row * stride, stride,
                    static_cast<int>(std::min<size_t>(quant::kPanelRows, m.rows - row)),
                    m.columns / traits.block_values, out + p * panel);
      }
      done.fetch_add((job.panel_end - job.panel_begin) * panel, std::memory_order_relaxed);
      if (thread != 0) continue;
      try {
        progress(done.load(std::memory_order_relaxed), packed_bytes_);
      } catch (...) {
        given_up = std::current_exception();
        next.store(jobs.size());
      }
    }
  });
  if (given_up) std::rethrow_exception(given_up);
}

}  // namespace zs::graph
