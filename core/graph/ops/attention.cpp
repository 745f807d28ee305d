// Causal grouped-query attention over the paged cache (FlashAttention's online softmax: Dao et
// al., 2022). Keys are taken in chunks of 1,024 absolute positions; a chunk's result is one
// softmax of its own, and chunks merge in order. That partition depends on positions alone, so
// decode may give the chunks of one query to several threads and still get the bits of prefill.
#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/op.h"

namespace zs::graph {
namespace {

constexpr int64_t kMaxHeads = 1 << 16;
constexpr int kChunkPages = 16;
constexpr int64_t kChunk = int64_t{kChunkPages} * kernels::kPagePositions;
// Batches of up to this many tokens split long sequences over threads.
constexpr size_t kSplitTokens = 8;

// Softmax state of one query: maximum, sum, then the unscaled output.
struct State {
  float* maximum;
  float* sum;
  float* out;
};

// exp on one value by the polynomial that all ISAs share.
float shared_exp(const kernels::Table& kernels, float below_zero) {
  float pair[2] = {0.0f, below_zero};  // exp_sum subtracts the largest, which is the 0
  kernels.exp_sum(pair, pair, 2);
  return pair[1];
}

// Adds `chunk` to `total` (whose sum is 0 when nothing was added yet).
void merge(const kernels::Table& kernels, const State& chunk, const State& total, size_t dim) {
  if (*chunk.sum == 0.0f) return;
  if (*total.sum == 0.0f) {
    *total.maximum = *chunk.maximum;
    *total.sum = *chunk.sum;
    std::copy_n(chunk.out, dim, total.out);
    return;
  }
  const float top = std::max(*total.maximum, *chunk.maximum);
  const float keep = shared_exp(kernels, *total.maximum - top);
  const float take = shared_exp(kernels, *chunk.maximum - top);
  *total.maximum = top;
  *total.sum = *total.sum * keep + *chunk.sum * take;
  kernels.scale(total.out, keep, total.out, dim);
  kernels.axpy(chunk.out, take, total.out, dim);
}

// What the unscaled output is multiplied with, where `sink` is one more score whose value is 0.
float factor_with_sink(const kernels::Table& kernels, const State& total, float sink) {
  const float top = std::max(*total.maximum, sink);
  const float keep = shared_exp(kernels, *total.maximum - top);
  return keep / (*total.sum * keep + shared_exp(kernels, sink - top));
}

class Attention final : public Op {
 public:
  explicit Attention(BuildContext& build) : max_tokens_(build.max_tokens) {
    build.arity(3, 1, 0, 1);
    for (int i = 0; i < 3; ++i) in_[i] = build.input(i);
    out_ = build.output(0);
    auto& a = build.attrs;
    heads_ = static_cast<int>(a.integer("heads", 1, kMaxHeads));
    shape_.kv_heads = static_cast<int>(a.integer("kv_heads", 1, heads_));
    shape_.head_dim = static_cast<int>(a.integer("head_dim", 1, kernels::kMaxHeadDim));
    shape_.value_dim =
        static_cast<int>(a.integer("value_dim", 1, kernels::kMaxHeadDim, shape_.head_dim));
    window_ = a.integer("window", 0, std::numeric_limits<int64_t>::max(), 0);
    scale_ = a.real("scale");
    softcap_ = a.real("softcap", 0.0f);
    sinks_ = build.vector(0, heads_);
    // Layers are numbered in order.
    const auto layer = static_cast<int64_t>(build.layers.size());
    layer_ = a.integer("layer", layer, layer);
    if (heads_ % shape_.kv_heads != 0) a.fail("kv_heads must divide heads");
    build.layers.push_back(shape_);
    build.expect_width(build.input_width(0), size_t(heads_) * shape_.head_dim, "q");
    build.expect_width(build.input_width(1), size_t(shape_.kv_heads) * shape_.head_dim, "k");
    build.expect_width(build.input_width(2), size_t(shape_.kv_heads) * shape_.value_dim, "v");
    build.expect_width(build.output_width(0), size_t(heads_) * shape_.value_dim, "the output");
    state_floats_ = round_up(size_t(shape_.value_dim) + 2, 16);
    context_chunks_ = build.context / kChunk + 1;
  }

  size_t shared_scratch() const override {
    return std::min(kSplitTokens, max_tokens_) * heads_ * context_chunks_ * state_floats_ *
           sizeof(float);
  }
  size_t private_scratch() const override {
    return 2 * kernels::kQueryTile * state_floats_ * sizeof(float);
  }

  void run(Worker& worker) const override {
    store(worker);
    worker.barrier();
    if (worker.step.tokens <= kSplitTokens) {
      run_split(worker);
    } else {
      run_tiles(worker);
    }
  }

 private:
  struct Tile {
    const Run* run;
    int kv_head;
    size_t first;  // query of the run's (token, head of the group) list
    int count;
  };

  int group() const { return heads_ / shape_.kv_heads; }

  State state(float* memory) const { return {memory, memory + 1, memory + 2}; }

  // Each thread stores whole KV heads, so that none shares a cache line of a page.
  void store(Worker& worker) const {
    const Step& step = worker.step;
    const Range r = worker.share(shape_.kv_heads);
    for (const Run& run : *step.runs) {
      const auto& pages = step.kv->pages(run.sequence);
      for (size_t h = r.begin; h < r.end; ++h) {
        for (size_t t = 0; t < run.count; ++t) {
          const int64_t position = run.first_position + static_cast<int64_t>(t);
          const int32_t page = pages[position / kernels::kPagePositions];
          const size_t row = (run.begin + t) * shape_.kv_heads + h;
          worker.kernels().store_kv(step.kv->type(), worker.buffer(in_[1]) + row * shape_.head_dim,
                                    worker.buffer(in_[2]) + row * shape_.value_dim, shape_.head_dim,
                                    shape_.value_dim,
                                    static_cast<int>(position % kernels::kPagePositions),
                                    step.kv->key_page(layer_, page, static_cast<int>(h)),
                                    step.kv->value_page(layer_, page, static_cast<int>(h)));
        }
      }
    }
  }

  int64_t key_begin(int64_t position) const {
    return window_ > 0 ? std::max<int64_t>(0, position + 1 - window_) : 0;
  }

  // Calls fn(tile) for every tile of the batch, in a fixed order.
  template <class Fn>
  void each_tile(const Step& step, Fn&& fn) const {
    for (const Run& run : *step.runs) {
      const size_t queries = run.count * group();
      for (int h = 0; h < shape_.kv_heads; ++h) {
        for (size_t q = 0; q < queries; q += kernels::kQueryTile) {
          fn(Tile{&run, h, q,
                  static_cast<int>(std::min<size_t>(kernels::kQueryTile, queries - q))});
        }
      }
    }
  }

  int64_t position_of(const Tile& tile, int q) const {
    return tile.run->first_position + static_cast<int64_t>((tile.first + q) / group());
  }
  // Row and head of a query in the batch.
  size_t row_of(const Tile& tile, int q) const {
    const size_t token = tile.run->begin + (tile.first + q) / group();
    const size_t head = size_t(tile.kv_head) * group() + (tile.first + q) % group();
    return token * heads_ + head;
  }

  // Results of one chunk of keys for a tile; query q's state is at out + q * stride floats.
  void chunk(Worker& worker, const Tile& tile, int64_t index, float* out, size_t stride) const {
    const Step& step = worker.step;
    kernels::AttentionTile job;
    job.queries = tile.count;
    for (int q = 0; q < tile.count; ++q) {
      const int64_t position = position_of(tile, q);
      job.query[q] = worker.buffer(in_[0]) + row_of(tile, q) * shape_.head_dim;
      job.key_begin[q] = key_begin(position);
      job.key_end[q] = position + 1;
      const State s = state(out + q * stride);
      job.maximum[q] = s.maximum;
      job.sum[q] = s.sum;
      job.out[q] = s.out;
    }
    job.head_dim = shape_.head_dim;
    job.value_dim = shape_.value_dim;
    job.scale = scale_;
    job.softcap = softcap_;
    job.kv = step.kv->type();
    job.first_position = index * kChunk;
    const auto& pages = step.kv->pages(tile.run->sequence);
    const uint8_t* keys[kChunkPages];
    const uint8_t* values[kChunkPages];
    const size_t first = size_t(index) * kChunkPages;
    job.pages = static_cast<int>(std::min<size_t>(kChunkPages, pages.size() - first));
    for (int p = 0; p < job.pages; ++p) {
      keys[p] = step.kv->key_page(layer_, pages[first + p], tile.kv_head);
      values[p] = step.kv->value_page(layer_, pages[first + p], tile.kv_head);
    }
    job.key_page = keys;
    job.value_page = values;
    worker.kernels().attention_tile(job);
  }

  // Sinks come in after all chunks, so that the order of those stays what it is.
  void finish(Worker& worker, const Tile& tile, int q, const State& total) const {
    const size_t row = row_of(tile, q);
    const float factor = sinks_ ? factor_with_sink(worker.kernels(), total, sinks_[row % heads_])
                                : 1.0f / *total.sum;
    worker.kernels().scale(total.out, factor, worker.buffer(out_) + row * shape_.value_dim,
                           shape_.value_dim);
  }

  // First and one past the last chunk that some query of the tile sees.
  Range chunks(const Tile& tile) const {
    return {static_cast<size_t>(key_begin(position_of(tile, 0)) / kChunk),
            static_cast<size_t>(position_of(tile, tile.count - 1) / kChunk) + 1};
  }

  // Prefill: a thread takes a tile through all its chunks.
  void run_tiles(Worker& worker) const {
    auto& counter = worker.counter();
    float* part = reinterpret_cast<float*>(worker.scratch());
    float* totals = part + kernels::kQueryTile * state_floats_;
    uint32_t mine = counter.fetch_add(1, std::memory_order_relaxed), index = 0;
    each_tile(worker.step, [&](const Tile& tile) {
      if (index++ != mine) return;
      mine = counter.fetch_add(1, std::memory_order_relaxed);
      for (int q = 0; q < tile.count; ++q) *state(totals + q * state_floats_).sum = 0.0f;
      const Range r = chunks(tile);
      for (size_t c = r.begin; c < r.end; ++c) {
        chunk(worker, tile, static_cast<int64_t>(c), part, state_floats_);
        for (int q = 0; q < tile.count; ++q) {
          merge(worker.kernels(), state(part + q * state_floats_),
                state(totals + q * state_floats_), shape_.value_dim);
        }
      }
      for (int q = 0; q < tile.count; ++q) {
        finish(worker, tile, q, state(totals + q * state_floats_));
      }
    });
  }

  // Decode: every (tile, chunk) is a piece of work of its own; then tiles merge theirs in order.
  void run_split(Worker& worker) const {
    auto& counter = worker.counter();
    float* parts = reinterpret_cast<float*>(worker.step.shared);
    const size_t stride = context_chunks_ * state_floats_;  // from query to query
    uint32_t mine = counter.fetch_add(1, std::memory_order_relaxed), index = 0;
    each_tile(worker.step, [&](const Tile& tile) {
      const Range r = chunks(tile);
      for (size_t c = r.begin; c < r.end; ++c) {
        if (index++ != mine) continue;
        mine = counter.fetch_add(1, std::memory_order_relaxed);
        // The tile's queries are spread over the batch: from private scratch to each one's place.
        float* own = reinterpret_cast<float*>(worker.scratch());
        chunk(worker, tile, static_cast<int64_t>(c), own, state_floats_);
        for (int q = 0; q < tile.count; ++q) {
          std::copy_n(own + q * state_floats_, state_floats_,
                      parts + row_of(tile, q) * stride + c * state_floats_);
        }
      }
    });
    worker.barrier();
    size_t tile_index = 0;
    each_tile(worker.step, [&](const Tile& tile) {
      if (tile_index++ % worker.threads != static_cast<size_t>(worker.thread)) return;
      const Range r = chunks(tile);
      float* own = reinterpret_cast<float*>(worker.scratch());
      for (int q = 0; q < tile.count; ++q) {
        const State total = state(own);
        *total.sum = 0.0f;
        for (size_t c = r.begin; c < r.end; ++c) {
          merge(worker.kernels(), state(parts + row_of(tile, q) * stride + c * state_floats_),
                total, shape_.value_dim);
        }
        finish(worker, tile, q, total);
      }
    });
  }

  size_t max_tokens_;
  int in_[3], out_;
  int heads_;
  kv::LayerShape shape_;
  int64_t window_;
  float scale_, softcap_;
  const float* sinks_;  // a score of each head, or nullptr
  size_t layer_, state_floats_, context_chunks_;
};

}  // namespace

std::unique_ptr<Op> make_attention(BuildContext& build) {
  return std::make_unique<Attention>(build);
}

}  // namespace zs::graph
