// Matrix products inside operators: activations quantised once, panels shared among threads.
#pragma once

#include <span>

#include "graph/op.h"

namespace zs::graph {

// Activations of up to `max_tokens` rows in each form that a set of weights needs, laid out in
// one block of scratch.
class ActivationPlan {
 public:
  ActivationPlan() = default;
  ActivationPlan(size_t columns, size_t max_tokens) : columns_(columns), max_tokens_(max_tokens) {}
  void need(quant::Format format);
  size_t bytes() const;

  // Quantises rows [begin, end) of x (`columns` floats each) into `memory`.
  void fill(const kernels::Table& kernels, const float* x, size_t begin, size_t end,
            uint8_t* memory) const;
  // All threads: each fills its share. A barrier must follow.
  void fill_shared(Worker& worker, const float* x, size_t tokens, uint8_t* memory) const {
    const Range r = worker.share(tokens);
    fill(worker.kernels(), x, r.begin, r.end, memory);
  }
  // What a weight of `format` multiplies, from row `first` on.
  kernels::Activations view(quant::Format format, const float* x, const uint8_t* memory,
                            size_t first = 0) const;
  bool quantised() const { return q8_k_ || q8_32_; }

 private:
  struct Layout {
    size_t q, scales, sums16, sums32, end;
  };
  Layout layout(bool k_quants) const;

  size_t columns_ = 0, max_tokens_ = 0;
  bool q8_k_ = false, q8_32_ = false;
};

// out[t * stride + r] = weight row r . activation row t (+ bias[r]).
struct Product {
  const PackedMatrix* weight = nullptr;
  kernels::Activations activations;
  const int32_t* row_index = nullptr;
  size_t tokens = 0;
  float* out = nullptr;
  size_t stride = 0;
  const float* bias = nullptr;
};

void run_panels(const kernels::Table& kernels, const Product& product, size_t panel_begin,
                size_t panel_end, uint8_t* scratch);

// The fewest panels of a weight that a thread takes at once.
size_t least_part(const PackedMatrix& weight, size_t tokens);

// All threads share the panels of all products, taking parts as they finish; only with few tokens
// and the memory of several nodes each has a fixed one.
void run_products(Worker& worker, std::span<const Product> products);

// Batches of up to this many tokens are bound by memory bandwidth.
inline constexpr size_t kDecodeTokens = 4;

}  // namespace zs::graph
