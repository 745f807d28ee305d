// exp for x <= 0 in plain IEEE double operations. The C library's differs in the last bit between
// versions and between machines with and without FMA; a sampled token must not.
#pragma once

#include <bit>
#include <cstdint>

namespace zs::sample {

// Within 2 units in the last place; 0 below -708, where results would become subnormal.
inline double exponential(double x) {
  constexpr double kLog2e = 1.4426950408889634;
  constexpr double kLn2High = 0x1.62e42fefa0000p-1;  // 33 bits, so that k * kLn2High is exact
  constexpr double kLn2Low = 0x1.cf79abc9e3b3ap-40;
  constexpr double kRound = 0x1.8p52;  // adding it leaves the nearest integer in the low bits
  const double clamped = x > -708.0 ? x : -708.0;
  const double shifted = clamped * kLog2e + kRound;
  const double k = shifted - kRound;
  const double r = (clamped - k * kLn2High) - k * kLn2Low;  // |r| <= ln(2) / 2
  // Taylor to r^13: the next term is below 2^-57.
  constexpr double kFactorials[] = {6227020800, 479001600, 39916800, 3628800, 362880, 40320, 5040,
                                    720,        120,       24,       6,       2,      1,     1};
  double sum = 0;
  for (double factorial : kFactorials) sum = sum * r + 1 / factorial;
  const uint64_t exponent = (std::bit_cast<uint64_t>(shifted) + 1023) << 52;
  return x > -708.0 ? sum * std::bit_cast<double>(exponent) : 0.0;
}

}  // namespace zs::sample
