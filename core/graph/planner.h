// Places the tape's buffers by liveness: two share memory when no operator needs both.
#pragma once

#include <cstddef>
#include <vector>

#include "graph/tape.h"

namespace zs::graph {

struct BufferPlan {
  std::vector<size_t> offsets;  // bytes, of each buffer; multiples of 64
  size_t bytes = 0;             // of all together
};

// Buffers of `tokens` rows. Throws InvalidRequest when an operator reads a buffer that nothing
// wrote before it, a buffer is written twice, or an index is out of range.
BufferPlan plan_buffers(const TapeSpec& tape, size_t tokens);

}  // namespace zs::graph
