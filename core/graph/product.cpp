// Layout of quantised activations, and the split of panels over threads.
#include "graph/product.h"

#include <algorithm>

namespace zs::graph {
namespace {
constexpr size_t kAlign = 64;
// The shortest part of the work that a thread takes: bytes of weights where memory is the limit,
// and panels where computing is.
constexpr size_t kLeastPart = 32 * 1024, kLeastPanels = 4;
}  // namespace

void ActivationPlan::need(quant::Format format) {
  const auto kind = quant::traits(format).activations;
  q8_k_ |= kind == quant::ActivationKind::Q8_K;
  q8_32_ |= kind == quant::ActivationKind::Q8_32;
}

ActivationPlan::Layout ActivationPlan::layout(bool k_quants) const {
  const size_t values = columns_ * max_tokens_;
  Layout l{};
  // The K-quant form comes first when both are there.
  l.q = (!k_quants && q8_k_) ? layout(true).end : 0;
  l.scales = l.q + round_up(values, kAlign);
  l.sums16 = l.scales + round_up(values / (k_quants ? 256 : 32) * sizeof(float), kAlign);
  l.sums32 = l.sums16 + (k_quants ? round_up(values / 16 * sizeof(int16_t), kAlign) : 0);
  l.end = l.sums32 + round_up(values / 32 * sizeof(int16_t), kAlign);
  return l;
}

size_t ActivationPlan::bytes() const {
  if (q8_32_) return layout(false).end;
  return q8_k_ ? layout(true).end : 0;
}

void ActivationPlan::fill(const kernels::Table& kernels, const float* x, size_t begin, size_t end,
                          uint8_t* memory) const {
  for (const bool k_quants : {true, false}) {
    if (!(k_quants ? q8_k_ : q8_32_)) continue;
    const Layout l = layout(k_quants);
    auto* q = reinterpret_cast<int8_t*>(memory + l.q);
    auto* scales = reinterpret_cast<float*>(memory + l.scales);
    auto* sums16 = reinterpret_cast<int16_t*>(memory + l.sums16);
    auto* sums32 = reinterpret_cast<int16_t*>(memory + l.sums32);
    for (size_t t = begin; t < end; ++t) {
      const size_t at = t * columns_;
      if (k_quants) {
        kernels.quantize_q8_k(x + at, columns_, q + at, scales + at / 256, sums16 + at / 16,
                              sums32 + at / 32);
      } else {
        kernels.quantize_q8_32(x + at, columns_, q + at, scales + at / 32, sums32 + at / 32);
      }
    }
  }
}

kernels::Activations ActivationPlan::view(quant::Format format, const float* x,
                                          const uint8_t* memory, size_t first) const {
  kernels::Activations a;
  a.kind = quant::traits(format).activations;
  a.columns = columns_;
  const size_t at = first * columns_;
  if (a.kind == quant::ActivationKind::F32) {
    a.f = x + at;
    return a;
  }
  const bool k_quants = a.kind == quant::ActivationKind::Q8_K;
  const Layout l = layout(k_quants);
  a.q = reinterpret_cast<const int8_t*>(memory + l.q) + at;
  a.scales = reinterpret_cast<const float*>(memory + l.scales) + at / (k_quants ? 256 : 32);
  if (k_quants) a.sums16 = reinterpret_cast<const int16_t*>(memory + l.sums16) + at / 16;
  a.sums32 = reinterpret_cast<const int16_t*>(memory + l.sums32) + at / 32;
  return a;
}

void run_panels(const kernels::Table& kernels, const Product& product, size_t panel_begin,
                size_t panel_end, uint8_t* scratch) {
  if (panel_begin >= panel_end || product.tokens == 0) return;
  kernels::MatmulJob job;
  job.packed = product.weight->data;
  job.weight_rows = product.weight->rows;
  job.columns = product.weight->columns;
  job.activations = &product.activations;
  job.row_index = product.row_index;
  job.tokens = product.tokens;
  job.panel_begin = panel_begin;
  job.panel_end = panel_end;
  job.out = product.out;
  job.out_stride = product.stride;
  job.bias = product.bias;
  job.scratch = scratch;
  kernels.matmul[static_cast<int>(product.weight->format)](job);
}

size_t least_part(const PackedMatrix& weight, size_t tokens) {
  const size_t few = kLeastPart / quant::panel_bytes(weight.format, weight.columns);
  return std::max<size_t>(tokens <= kDecodeTokens ? few : kLeastPanels, 1);
}

void run_products(Worker& worker, std::span<const Product> products) {
  size_t tokens = 0, panels = 0;
  for (const Product& p : products) {
    tokens = std::max(tokens, p.tokens);
    panels += p.weight->panels();
  }
  if (tokens <= kDecodeTokens && worker.step.by_node) {
    for (const Product& p : products) {
      const Range r = worker.share(p.weight->panels());
      run_panels(worker.kernels(), p, r.begin, r.end, worker.scratch());
    }
    return;
  }
  // A router has few panels: each thread gets some.
  const size_t each = (panels + worker.threads - 1) / worker.threads;
  const size_t least = std::min(least_part(*products[0].weight, tokens), std::max<size_t>(each, 1));
  worker.take(panels, least, [&](size_t begin, size_t end) {
    size_t base = 0;
    for (const Product& p : products) {
      const size_t n = p.weight->panels();
      if (begin < base + n && end > base) {
        run_panels(worker.kernels(), p, std::max(begin, base) - base, std::min(end - base, n),
                   worker.scratch());
      }
      base += n;
    }
  });
}

}  // namespace zs::graph
