// Weights as operators use them: matrices packed into panels, vectors as floats. Built once at
// load; packing runs on all threads. Of a converted file the panels are used where they lie, but on
// several NUMA nodes, where they are copied to the memory of the node that reads them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/backing.h"
#include "base/thread_pool.h"
#include "experts/layout.h"
#include "gguf/file.h"
#include "graph/tape.h"
#include "io/read_queue.h"
#include "quant/format.h"

namespace zs::graph {

// Plain values: groups of a step copy it.
struct PackedMatrix {
  quant::Format format = quant::Format::F32;
  size_t rows = 0, columns = 0;
  const uint8_t* data = nullptr;  // set by WeightStore::load

  size_t panels() const { return (rows + quant::kPanelRows - 1) / quant::kPanelRows; }
  size_t bytes() const { return panels() * quant::panel_bytes(format, columns); }
};

// A matrix per expert, all of one shape and format.
struct PackedExperts {
  PackedMatrix first;  // expert 0
  size_t experts = 0;
  size_t stride = 0;  // bytes from expert to expert: of a matrix, or of a record in the file
  PackedMatrix at(size_t expert) const {
    PackedMatrix m = first;
    m.data += expert * stride;
    return m;
  }
};

// A declared weight for those who ask what a model uses.
struct DeclaredWeight {
  std::string name;
  size_t row_begin = 0, row_end = 0, experts = 0;
};

// Rows of a tensor as they lie in the file, for embedding lookups. They are few beside the matrix,
// which would take memory for nothing, and are copied as they are needed: one that the mapping has
// no more would end the process.
struct RawRows {
  const quant::FormatTraits* traits = nullptr;
  const gguf::File* file = nullptr;
  const gguf::TensorInfo* tensor = nullptr;
  size_t begin = 0;  // row 0 is this one of the tensor
  size_t rows = 0, columns = 0, row_bytes = 0;

  // Copies row_bytes to `out`; any thread. Throws Storage.
  void read(size_t row, uint8_t* out) const;
};

class WeightStore {
 public:
  // `streaming`: experts stay in the file, and what else there is goes into memory of its own,
  // which the system does not take back under pressure. `low`: the low copies of those experts
  // are wanted, too.
  WeightStore(std::shared_ptr<const gguf::File> file, bool streaming, bool low)
      : file_(std::move(file)), streaming_(streaming), low_(low) {}

  // Declared while operators are built; data pointers are valid after load(). `rows` and
  // `columns` are what the operator needs (0: any). The results live as long as the store.
  // Throws ModelFormat (missing, wrong shape) or UnsupportedModel (format).
  const PackedMatrix& matrix(const WeightRef& ref, const std::string& user, size_t rows,
                             size_t columns);
  const PackedExperts& experts(const WeightRef& ref, const std::string& user, size_t experts,
                               size_t rows, size_t columns);
  // Gate, up and down of a layer, each declared by experts(), when they are streamed: returns the
  // layer's index in expert_layers(). nullopt: their data is in memory after load(). Throws
  // InvalidRequest where low copies are wanted and the file has none.
  std::optional<size_t> stream(const PackedExperts& gate, const PackedExperts& up,
                               const PackedExperts& down, size_t used, const std::string& user);
  bool streaming() const { return streaming_; }
  const std::vector<experts::Layer>& expert_layers() const { return expert_layers_; }
  // Whether weights are used where the file is mapped. After load().
  bool in_place() const { return mapped_ && !stored_.empty(); }
  // The low copies of the experts of each of those layers; empty where they are not wanted.
  const std::vector<experts::Layer>& low_layers() const { return low_layers_; }
  // A copy of a matrix of this store for guesses, in 8 bits a weight; the matrix itself where it is
  // not in floats.
  const PackedMatrix& rough(const PackedMatrix& exact);
  RawRows raw_rows(const WeightRef& ref, const std::string& user, size_t columns);
  // Converted to float at once.
  const float* vector(const WeightRef& ref, const std::string& user, size_t length);
  // The same of `count` vectors in one tensor; they follow each other.
  const float* vectors(const WeightRef& ref, const std::string& user, size_t count, size_t length);

  // Of all matrices declared, whether packed at load or lying packed in the file, and of rough
  // ones.
  size_t packed_bytes() const { return packed_bytes_ + stored_bytes_; }
  // Of all vectors: the biases of many experts are no small part.
  size_t vector_bytes() const { return vector_bytes_; }
  // The matrices in the order they were declared, and the tensors used as they lie in the file.
  std::vector<DeclaredWeight> declared() const;
  const std::set<std::string>& used_raw() const { return used_raw_; }

  // Packs everything declared that the file does not hold packed, and reads the rest.
  // `nodes`: the NUMA node of each thread, whose share of every matrix is then put there; empty:
  // memory is the same to all. `progress(done, total)` is called from this thread now and
  // then and may throw to give up.
  // `queue`, where experts are streamed, reads what lies packed in the file past the page cache.
  void load(ThreadPool& pool, const std::vector<int>& nodes, io::ReadQueue* queue,
            const std::function<void(size_t, size_t)>& progress);
  // Compares the checksums of all records that were loaded; those of experts that are streamed are
  // compared as they are read. Throws ModelFormat.
  void check_records(ThreadPool& pool) const;
  // The pages of what was packed; after load().
  Backing& backing() { return *backing_; }
  // Bytes of matrices that were put on each node; none where memory is the same to all.
  const std::map<int, size_t>& node_bytes() const { return node_bytes_; }

 private:
  struct Declared {
    DeclaredWeight name;
    PackedExperts weight;
    const gguf::TensorInfo* tensor = nullptr;
    const gguf::PackedWeight* packed = nullptr;  // as it lies in a converted file
    bool streamed = false;                       // experts that stay in the file
    // Of the file, where it must be packed or copied; nullptr: it stays there, or is read.
    const uint8_t* source = nullptr;
    size_t row_stride = 0;  // of what must be packed
    bool in_memory = false;
    size_t offset = 0;  // in memory_, if there
  };
  struct Job {
    const Declared* weight = nullptr;  // nullptr: pages of a stored tensor
    const gguf::TensorInfo* tensor = nullptr;
    std::span<const uint8_t> pages;  // of the file
    size_t expert = 0, panel_begin = 0, panel_end = 0;
    size_t bytes = 0;
  };
  struct Rough {
    const PackedMatrix* exact;
    PackedMatrix copy;
    size_t offset;  // in memory_
  };
  struct Source {
    const gguf::TensorInfo* tensor;
    const quant::FormatTraits* traits;
    size_t row_begin, rows, columns, row_bytes;
  };
  Source find(const WeightRef& ref, const std::string& user, int dims) const;
  const float* floats(const Source& source, const std::string& user, size_t begin, size_t count);
  const PackedExperts& declare(const WeightRef& ref, const Source& source, const std::string& user,
                               size_t experts);
  std::vector<Job> jobs();
  static std::span<const uint8_t> source_of(const Declared& weight, size_t expert, size_t begin,
                                            size_t end);
  void run(const Job& job, int thread);
  void copy_packed();
  size_t lay_out(bool read);
  void place(const std::vector<int>& nodes);
  void read_stored(io::ReadQueue& queue, const std::function<void(size_t, size_t)>& progress);
  void make_rough_copies(ThreadPool& pool);
  void pack_all(ThreadPool& pool, const std::function<void(size_t, size_t)>& progress);
  const Declared& declared_of(const PackedExperts& weight) const;
  using Records = std::array<const gguf::PackedWeight*, experts::Layer::kParts>;
  void place_records(experts::Layer& layer, const Records& parts, const std::string& user) const;
  void add_low_copy(const std::array<const Declared*, experts::Layer::kParts>& parts,
                    const std::string& user);

  std::shared_ptr<const gguf::File> file_;
  std::vector<std::unique_ptr<Declared>> declared_;
  std::vector<std::unique_ptr<Rough>> rough_;
  std::vector<std::unique_ptr<std::vector<float>>> vectors_;
  bool streaming_, low_;
  std::vector<experts::Layer> expert_layers_, low_layers_;
  std::set<uint32_t> stored_;             // tensors of a converted file that are used, by index
  std::map<uint32_t, size_t> stored_at_;  // where in memory_ they are read to, if they are
  std::set<std::string> used_raw_;
  bool mapped_ = true;  // what lies packed in the file is used there
  size_t packed_bytes_ = 0, stored_bytes_ = 0, vector_bytes_ = 0;
  std::map<int, size_t> node_bytes_;
  AlignedBuffer memory_;
  std::unique_ptr<Backing> backing_;  // of memory_; set by load
};

}  // namespace zs::graph
