// From floats to the blocks of a format, for those formats that conversions write themselves. Not
// in the headers of the formats: those are compiled once for each instruction set, which an encoder
// has no use for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace zs::quant {

// Encodes `blocks` blocks of finite values of one row. Every value becomes the nearest that its
// block can say; the scales of a block are those of least squared error among a few that are tried.
// The same values give the same bytes everywhere.
using Encode = void (*)(const float* values, uint8_t* out, size_t blocks);

// nullptr for a format that is only read.
Encode encoder(Format format);

}  // namespace zs::quant
