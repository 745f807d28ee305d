// Packs weights from the mapped file into memory, or reads or copies those that lie packed in it,
// on all threads.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <set>
#include <utility>

#include "base/error.h"
#include "cpu/node_memory.h"
#include "experts/record.h"
#include "gguf/report.h"
#include "graph/weights.h"
#include "io/residency.h"

namespace zs::graph {
namespace {

// About 1 MiB of source a job: enough to amortise the counter, small enough to share evenly.
constexpr size_t kPackJobBytes = size_t{1} << 20;
// Pages that lie packed and stay are only read: a few huge pages a job.
constexpr size_t kReadJobBytes = size_t{8} << 20;
// The drive works this many jobs ahead of the packing.
constexpr size_t kJobsAhead = 32;

}  // namespace

std::vector<WeightStore::Job> WeightStore::jobs() {
  std::vector<Job> jobs;
  for (const uint32_t index : mapped_ ? stored_ : std::set<uint32_t>()) {
    const gguf::TensorInfo& tensor = file_->stored()[index];
    const std::span<const uint8_t> all(tensor.data, tensor.bytes);
    io::advise_huge(all);
    for (size_t at = 0; at < all.size(); at += kReadJobBytes) {
      Job& job = jobs.emplace_back();
      job.tensor = &tensor;
      job.pages = all.subspan(at, std::min(kReadJobBytes, all.size() - at));
      job.bytes = job.pages.size();
    }
  }
  for (const auto& entry : declared_) {
    if (!entry->source) continue;
    const PackedMatrix& m = entry->weight.first;
    const size_t panel = quant::panel_bytes(m.format, m.columns);
    const size_t step = std::max<size_t>(1, kPackJobBytes / panel);
    for (size_t expert = 0; expert < entry->weight.experts; ++expert) {
      for (size_t p = 0; p < m.panels(); p += step) {
        const size_t end = std::min(p + step, m.panels());
        jobs.push_back({entry.get(), entry->tensor, source_of(*entry, expert, p, end), expert, p,
                        end, (end - p) * panel});
      }
    }
  }
  return jobs;
}

// The bytes of the file that make panels [begin, end) of an expert.
std::span<const uint8_t> WeightStore::source_of(const Declared& weight, size_t expert, size_t begin,
                                                size_t end) {
  const PackedMatrix& m = weight.weight.first;
  if (weight.packed) {
    const size_t panel = quant::panel_bytes(m.format, m.columns);
    return {weight.source + expert * weight.packed->stride + begin * panel, (end - begin) * panel};
  }
  const size_t row = begin * quant::kPanelRows;
  const size_t rows = std::min(end * quant::kPanelRows, m.rows) - row;
  return {weight.source + (expert * m.rows + row) * weight.row_stride, rows * weight.row_stride};
}

void WeightStore::run(const Job& job, int thread) {
  if (!io::populate(job.pages)) {
    throw Error(ErrorKind::Storage,
                gguf::printable(file_->paths()[job.tensor->shard], 4096) + ": reading tensor '" +
                    gguf::printable(job.tensor->name) + "' failed, near byte " +
                    std::to_string(job.tensor->offset + (job.pages.data() - job.tensor->data)) +
                    "; check the drive, and that the file was not cut meanwhile");
  }
  if (!job.weight) return;
  const PackedMatrix& m = job.weight->weight.first;
  const auto& traits = quant::traits(m.format);
  const size_t stride = job.weight->row_stride;
  const size_t panel = quant::panel_bytes(m.format, m.columns);
  const size_t offset = job.weight->offset + job.expert * m.bytes();
  backing_->fill(offset + job.panel_end * panel);
  uint8_t* out = memory_.data() + offset;
  if (job.weight->packed) {
    std::memcpy(out + job.panel_begin * panel, job.pages.data(), job.pages.size());
    return;
  }
  for (size_t p = job.panel_begin; p < job.panel_end; ++p) {
    const size_t row = p * quant::kPanelRows;
    traits.pack(job.weight->source + (job.expert * m.rows + row) * stride, stride,
                static_cast<int>(std::min<size_t>(quant::kPanelRows, m.rows - row)),
                m.columns / traits.block_values, out + p * panel);
  }
}

// What lies packed in the file is in the page cache, on whichever node read it first, and may be
// shared with others; a mapping cannot move it.
void WeightStore::copy_packed() {
  for (auto& entry : declared_) {
    if (!entry->packed) continue;
    entry->tensor = &file_->stored()[entry->packed->stored];
    entry->source = entry->packed->data;
    entry->weight.stride = entry->weight.first.bytes();
    entry->offset = packed_bytes_;
    entry->in_memory = true;
    packed_bytes_ += round_up(entry->weight.first.bytes() * entry->weight.experts, 64);
  }
  stored_bytes_ = 0;
}

// Packed panels first, then stored tensors in their order, if those are read, whole. Returns the
// bytes.
size_t WeightStore::lay_out(bool read) {
  size_t end = round_up(packed_bytes_, io::kReadAlign);
  if (!read) return end;
  for (const uint32_t index : stored_) {
    stored_at_[index] = end;
    end += round_up(file_->stored()[index].bytes, io::kReadAlign);
  }
  for (auto& entry : declared_) {
    if (!entry->packed || entry->streamed) continue;
    entry->offset = stored_at_[entry->packed->stored] + entry->packed->offset;
    entry->in_memory = true;
  }
  return end;
}

// The threads of a node read the same panels of a matrix in every decoding step.
void WeightStore::place(const std::vector<int>& nodes) {
  for (const auto& entry : declared_) {
    if (!entry->in_memory) continue;
    const PackedMatrix& m = entry->weight.first;
    const size_t panel = quant::panel_bytes(m.format, m.columns);
    for (size_t expert = 0; expert < entry->weight.experts; ++expert) {
      const uint8_t* data = memory_.data() + entry->offset + expert * entry->weight.stride;
      for (const auto& [node, part] : cpu::split_by_node(m.panels(), nodes)) {
        const size_t bytes = (part.end - part.begin) * panel;
        // A node that may not be used leaves the choice to the kernel.
        cpu::prefer_node(data + part.begin * panel, bytes, node);
        node_bytes_[node] += bytes;
      }
    }
  }
}

void WeightStore::load(ThreadPool& pool, const std::vector<int>& nodes, io::ReadQueue* queue,
                       const std::function<void(size_t, size_t)>& progress) {
  mapped_ = nodes.empty() && !queue;
  if (!mapped_ && !queue) copy_packed();
  memory_ = AlignedBuffer(lay_out(queue != nullptr), "the packed weights");
  if (!nodes.empty()) place(nodes);
  backing_ = std::make_unique<Backing>(memory_.data(), memory_.size());
  for (auto& entry : declared_) {
    if (entry->in_memory) entry->weight.first.data = memory_.data() + entry->offset;
  }
  if (queue) {
    pool.run([this](int) { backing_->fill(memory_.size()); });
    read_stored(*queue, progress);
  }
  pack_all(pool, progress);
  make_rough_copies(pool);
  backing_->finish();
  // Without swap it would stay anyway; where the limit does not allow it, it may be swapped.
  if (streaming_) io::lock(memory_.data(), memory_.size());
  for (const uint32_t index : stored_) {
    if (file_->stored()[index].n_dims == 2) experts::check_records(*file_, index);
  }
  // The source of what was packed or copied is not needed again, nor are the pages that show it.
  for (const auto& entry : declared_) {
    if (entry->source) io::release({entry->tensor->data, entry->tensor->bytes});
  }
  // Experts that are streamed need the memory more. Elsewhere rows that are looked up in the file
  // come now: a drive takes 0.2 to 0.6 ms for each.
  if (streaming_) return;
  for (const std::string& name : used_raw_) {
    const gguf::TensorInfo* tensor = file_->find(name);
    io::prefetch({tensor->data, tensor->bytes});
  }
}

// Past the page cache, at the speed of the drive.
void WeightStore::read_stored(io::ReadQueue& queue,
                              const std::function<void(size_t, size_t)>& progress) {
  size_t done = 0;
  for (const uint32_t index : stored_) {
    const gguf::TensorInfo& tensor = file_->stored()[index];
    if (tensor.offset % io::kReadAlign != 0) {
      throw Error(ErrorKind::ModelFormat,
                  gguf::printable(file_->paths()[tensor.shard], 4096) + ": tensor '" +
                      gguf::printable(tensor.name) +
                      "' does not begin on a page; convert the model again");
    }
    queue.read({.tag = index,
                .file = static_cast<uint32_t>(tensor.shard),
                .offset = tensor.offset,
                .bytes = round_up(tensor.bytes, io::kReadAlign),
                .needed = tensor.bytes,
                .out = memory_.data() + stored_at_[index],
                // Unlike records these have no checksum that would tell a mirror's damage.
                .primary = true});
  }
  std::array<io::Finished, 16> finished;
  while (!queue.idle()) {
    const size_t count = queue.collect(finished, std::chrono::milliseconds(100));
    for (size_t i = 0; i < count; ++i) {
      if (finished[i].error != 0) throw queue.failure(finished[i]);
      done += file_->stored()[finished[i].tag].bytes;
    }
    progress(done, packed_bytes());
  }
}

void WeightStore::check_records(ThreadPool& pool) const {
  std::vector<std::pair<uint32_t, uint64_t>> records;
  for (const uint32_t index : stored_) {
    const gguf::TensorInfo& tensor = file_->stored()[index];
    for (uint64_t i = 0; tensor.n_dims == 2 && i < tensor.dims[1]; ++i) {
      records.emplace_back(index, i);
    }
  }
  std::atomic<size_t> next{0};
  std::mutex lock;
  std::exception_ptr failure;
  pool.run([&](int) {
    for (size_t i = 0; (i = next.fetch_add(1)) < records.size();) {
      try {
        experts::check_payload(*file_, records[i].first, records[i].second);
      } catch (...) {
        const std::lock_guard guard(lock);
        failure = std::current_exception();
        next.store(records.size());
      }
    }
  });
  if (failure) std::rethrow_exception(failure);
}

void WeightStore::pack_all(ThreadPool& pool, const std::function<void(size_t, size_t)>& progress) {
  const std::vector<Job> all = jobs();
  std::atomic<size_t> next{0}, done{mapped_ ? 0 : stored_bytes_}, ahead{0};
  std::mutex lock;
  std::exception_ptr given_up;
  pool.run([&](int thread) {
    for (size_t i = 0; (i = next.fetch_add(1)) < all.size();) {
      try {
        // Whoever finds the drive not far enough ahead sends it on.
        for (size_t a = ahead.load(); a < all.size() && a < i + kJobsAhead;) {
          if (ahead.compare_exchange_weak(a, a + 1)) io::prefetch(all[a++].pages);
        }
        run(all[i], thread);
        done.fetch_add(all[i].bytes, std::memory_order_relaxed);
        if (thread == 0) progress(done.load(std::memory_order_relaxed), packed_bytes());
      } catch (...) {
        const std::lock_guard guard(lock);
        given_up = std::current_exception();
        next.store(all.size());
      }
    }
  });
  if (given_up) std::rethrow_exception(given_up);
}

}  // namespace zs::graph
