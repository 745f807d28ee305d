// The limits of this machine, measured: what no kernel can exceed, for comparison with what one
// reaches. Every function runs for about `seconds` and returns the best rate it saw, because a
// limit is what the machine can do when nothing disturbs it.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"

namespace zs::cpu {

// Bytes a second that all threads of the pool read from memory together, each its own part of a
// buffer of `bytes`, which should be several times the last-level cache. Throws OutOfBudget.
double read_bandwidth(ThreadPool& pool, size_t bytes, double seconds);

// The units whose peaks are known, from the slowest on.
enum class ComputeUnit { Scalar, Avx2, AvxVnni, Avx512, Amx };
// Whether this processor and operating system have the unit.
bool has_unit(ComputeUnit unit);
const char* unit_name(ComputeUnit unit);

// Operations a second (a multiplication and an addition are two) of int8 dot products, or of
// float32 FMA, on registers alone. Amx has no float32: its rate is that of Avx512.
double int8_peak(ThreadPool& pool, ComputeUnit unit, double seconds);
double float_peak(ThreadPool& pool, ComputeUnit unit, double seconds);

}  // namespace zs::cpu
