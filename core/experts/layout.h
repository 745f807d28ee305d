// Where the experts of a mixture lie in the model's files, and in a slot of memory once read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quant/format.h"

namespace zs::experts {

// Gate, up and down of one layer: raw rows in the file, panels in a slot.
struct Part {
  quant::Format format = quant::Format::F32;
  size_t rows = 0, columns = 0;  // of one expert
  uint32_t file = 0;             // index into the model's paths
  uint64_t offset = 0;           // of expert 0's rows in the file; unused for records
  uint64_t bytes = 0;            // of one expert's rows, which follow each other
  size_t packed_at = 0;          // where its panels begin in a slot, a multiple of 64

  size_t panels() const { return (rows + quant::kPanelRows - 1) / quant::kPanelRows; }
  size_t packed_bytes() const { return panels() * quant::panel_bytes(format, columns); }
};

// The experts of one layer, all alike.
struct Layer {
  static constexpr size_t kParts = 3;
  size_t experts = 0;
  size_t used = 0;      // of each token
  bool record = false;  // a converted file: one read brings gate, up and down as kernels read them
  uint32_t file = 0;    // of the records
  uint64_t offset = 0;  // of expert 0's record
  std::array<Part, kParts> parts;
  size_t slot_bytes = 0;  // of one expert in memory, and of a record in the file; whole pages
};

// An expert of the whole model: layers follow each other.
using ExpertId = uint32_t;

}  // namespace zs::experts
