// Copies of matrices in fewer bits, for guesses: an answer that is nearly right will do, and what
// is read for it is not there for the experts.
#include <algorithm>
#include <atomic>
#include <vector>

#include "graph/weights.h"
#include "quant/encode.h"

namespace zs::graph {
namespace {

constexpr quant::Format kRough = quant::Format::Q8_0;

// Panels of F32 hold the values of all their rows for one column after the other.
void make_rough(const PackedMatrix& exact, const PackedMatrix& rough, uint8_t* out) {
  const auto& traits = quant::traits(kRough);
  const quant::Encode encode = quant::encoder(kRough);
  const size_t columns = exact.columns, blocks = columns / traits.block_values;
  const size_t row_bytes = quant::row_bytes(kRough, columns);
  std::vector<float> row(columns);
  std::vector<uint8_t> encoded(quant::kPanelRows * row_bytes);
  for (size_t p = 0; p < exact.panels(); ++p) {
    const auto* panel =
        reinterpret_cast<const float*>(exact.data + p * quant::panel_bytes(exact.format, columns));
    const size_t rows = std::min<size_t>(quant::kPanelRows, exact.rows - p * quant::kPanelRows);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < columns; ++c) row[c] = panel[c * quant::kPanelRows + r];
      encode(row.data(), encoded.data() + r * row_bytes, blocks);
    }
    traits.pack(encoded.data(), row_bytes, static_cast<int>(rows), blocks,
                out + p * quant::panel_bytes(kRough, columns));
  }
}

}  // namespace

const PackedMatrix& WeightStore::rough(const PackedMatrix& exact) {
  if (exact.format != quant::Format::F32 ||
      exact.columns % quant::traits(kRough).block_values != 0) {
    return exact;
  }
  for (const auto& known : rough_) {
    if (known->exact == &exact) return known->copy;
  }
  const auto& made = rough_.emplace_back(std::make_unique<Rough>());
  made->exact = &exact;
  made->copy = {kRough, exact.rows, exact.columns, nullptr};
  made->offset = packed_bytes_;
  packed_bytes_ += round_up(made->copy.bytes(), 64);
  return made->copy;
}

void WeightStore::make_rough_copies(ThreadPool& pool) {
  std::atomic<size_t> next{0};
  pool.run([&](int thread) {
    for (size_t i = 0; (i = next.fetch_add(1)) < rough_.size();) {
      Rough& rough = *rough_[i];
      backing_->fill(rough.offset + rough.copy.bytes());
      uint8_t* out = memory_.data() + rough.offset;
      make_rough(*rough.exact, rough.copy, out);
      rough.copy.data = out;
    }
  });
}

}  // namespace zs::graph
