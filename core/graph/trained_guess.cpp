// The thin product runs beside the router's; the rest is a few thousand operations a token.
#include "graph/trained_guess.h"

#include <algorithm>

#include "base/error.h"
#include "quant/format.h"

namespace zs::graph {

Correction::Correction(const TrainedGuess& trained, size_t width, size_t experts, size_t max_tokens,
                       const std::string& where)
    : bias_(trained.bias), bytes_(round_up(max_tokens * trained.rank * sizeof(float), 64)) {
  if (trained.width != width || trained.experts != experts) {
    throw Error(ErrorKind::InvalidRequest,
                where + ": the speculator was trained for " + std::to_string(trained.experts) +
                    " experts of states of " + std::to_string(trained.width) + ", the layer has " +
                    std::to_string(experts) + " of " + std::to_string(width));
  }
  matrix_ = {quant::Format::F32, trained.rank, width, nullptr};
  panels_ = AlignedBuffer(matrix_.bytes(), "the speculator");
  const auto* rows = reinterpret_cast<const uint8_t*>(trained.a.data());
  const size_t row_bytes = width * sizeof(float);
  for (size_t p = 0; p < matrix_.panels(); ++p) {
    const size_t row = p * quant::kPanelRows;
    quant::traits(matrix_.format)
        .pack(rows + row * row_bytes, row_bytes,
              static_cast<int>(std::min<size_t>(quant::kPanelRows, trained.rank - row)), width,
              panels_.data() + p * quant::panel_bytes(matrix_.format, width));
  }
  matrix_.data = panels_.data();
  columns_.resize(trained.rank * experts);
  for (size_t e = 0; e < experts; ++e) {
    for (size_t r = 0; r < trained.rank; ++r) {
      columns_[r * experts + e] = trained.b[e * trained.rank + r];
    }
  }
}

Product Correction::product(const float* x, size_t tokens, uint8_t* memory) const {
  Product product;
  product.weight = &matrix_;
  product.activations.kind = quant::ActivationKind::F32;
  product.activations.columns = matrix_.columns;
  product.activations.f = x;
  product.tokens = tokens;
  product.out = reinterpret_cast<float*>(memory);
  product.stride = matrix_.rows;
  return product;
}

void Correction::apply(Worker& worker, size_t token, const uint8_t* memory, float* logits) const {
  const size_t rank = matrix_.rows, experts = bias_.size();
  const float* z = reinterpret_cast<const float*>(memory) + token * rank;
  worker.kernels().axpy(bias_.data(), 1.0f, logits, experts);
  for (size_t r = 0; r < rank; ++r) {
    worker.kernels().axpy(columns_.data() + r * experts, z[r], logits, experts);
  }
}

}  // namespace zs::graph
