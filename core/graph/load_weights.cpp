// Packs weights from the mapped file into memory, or reads those that lie packed in it, on all
// threads.
#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <mutex>
#include <set>

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
// Pages that lie packed are only read: a few huge pages a job.
constexpr size_t kReadJobBytes = size_t{8} << 20;
// The drive works this many jobs ahead of the packing.
constexpr size_t kJobsAhead = 32;

}  // namespace

std::vector<WeightStore::Job> WeightStore::jobs() {
  std::vector<Job> jobs;
  // What is streamed past the page cache is in memory by now.
  for (const uint32_t index : streaming_ ? std::set<uint32_t>() : stored_) {
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
        const size_t first = expert * m.rows + p * quant::kPanelRows;
        const size_t rows = std::min(end * quant::kPanelRows, m.rows) - p * quant::kPanelRows;
        jobs.push_back({entry.get(),
                        entry->tensor,
                        {entry->source + first * entry->row_stride, rows * entry->row_stride},
                        expert,
                        p,
                        end,
                        (end - p) * panel});
      }
    }
  }
  return jobs;
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
  backing_->fill(thread, offset + job.panel_end * panel);
  uint8_t* out = memory_.data() + offset;
  for (size_t p = job.panel_begin; p < job.panel_end; ++p) {
    const size_t row = p * quant::kPanelRows;
    traits.pack(job.weight->source + (job.expert * m.rows + row) * stride, stride,
                static_cast<int>(std::min<size_t>(quant::kPanelRows, m.rows - row)),
                m.columns / traits.block_values, out + p * panel);
  }
}

// The threads of a node read the same panels of a matrix in every decoding step.
void WeightStore::place(const std::vector<int>& nodes) {
  for (const auto& entry : declared_) {
    if (!entry->source) continue;
    const PackedMatrix& m = entry->weight.first;
    const size_t panel = quant::panel_bytes(m.format, m.columns);
    for (size_t expert = 0; expert < entry->weight.experts; ++expert) {
      const uint8_t* data = memory_.data() + entry->offset + expert * m.bytes();
      for (const auto& [node, part] : cpu::split_by_node(m.panels(), nodes)) {
        // A node that may not be used leaves the choice to the kernel.
        cpu::prefer_node(data + part.begin * panel, (part.end - part.begin) * panel, node);
      }
    }
  }
}

void WeightStore::load(ThreadPool& pool, const std::vector<int>& nodes, io::ReadQueue* queue,
                       const std::function<void(size_t, size_t)>& progress) {
  size_t stored = 0;
  for (const uint32_t index : stored_) {
    if (streaming_) stored += round_up(file_->stored()[index].bytes, io::kReadAlign);
  }
  // Packed panels first, then stored tensors in their order.
  memory_ = AlignedBuffer(round_up(packed_bytes_, io::kReadAlign) + stored, "the packed weights");
  if (!nodes.empty()) place(nodes);
  backing_ = std::make_unique<Backing>(memory_.data(), memory_.size(), pool.size());
  for (auto& entry : declared_) {
    if (entry->source) entry->weight.first.data = memory_.data() + entry->offset;
  }
  if (queue) read_stored(*queue, progress);
  pack_all(pool, progress);
  backing_->finish();
  // Without swap it would stay anyway; where the limit does not allow it, it may be swapped.
  if (streaming_) io::lock(memory_.data(), memory_.size());
  // The source of what was packed is not needed again, nor are the pages that show it.
  for (const auto& entry : declared_) {
    if (entry->source) io::release({entry->tensor->data, entry->tensor->bytes});
  }
  for (const uint32_t index : stored_) {
    if (file_->stored()[index].n_dims == 2) experts::check_records(*file_, index);
  }
}

// Past the page cache, at the speed of the drive.
void WeightStore::read_stored(io::ReadQueue& queue,
                              const std::function<void(size_t, size_t)>& progress) {
  size_t at = round_up(packed_bytes_, io::kReadAlign), done = 0;
  for (const uint32_t index : stored_) {
    const gguf::TensorInfo& tensor = file_->stored()[index];
    if (tensor.offset % io::kReadAlign != 0) {
      throw Error(ErrorKind::ModelFormat,
                  gguf::printable(file_->paths()[tensor.shard], 4096) + ": tensor '" +
                      gguf::printable(tensor.name) +
                      "' does not begin on a page; convert the model again");
    }
    const size_t bytes = round_up(tensor.bytes, io::kReadAlign);
    queue.read({.tag = index,
                .file = static_cast<uint32_t>(tensor.shard),
                .offset = tensor.offset,
                .bytes = bytes,
                .needed = tensor.bytes,
                .out = memory_.data() + at});
    for (auto& entry : declared_) {
      if (!entry->packed || entry->packed->stored != index) continue;
      entry->weight.first.data = memory_.data() + at + entry->packed->offset;
    }
    at += bytes;
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

void WeightStore::pack_all(ThreadPool& pool, const std::function<void(size_t, size_t)>& progress) {
  const std::vector<Job> all = jobs();
  std::atomic<size_t> next{0}, done{streaming_ ? stored_bytes_ : 0}, ahead{0};
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
