// What VDPBF16PS and TDPBF16PS compute, in plain code (Intel 64 and IA-32 Architectures Software
// Developer's Manual, volume 2). "fma" rounds once, to nearest even, takes denormals as zero and
// returns zero for them; so do additions. MXCSR counts for neither.
//
//   VDPBF16PS: each dword i      d[i] = fma(a[2i+1], b[2i+1], d[i]);  d[i] = fma(a[2i], b[2i],
//   d[i]) TDPBF16PS: each row m, column n of the sums, with s0 = s1 = 0:
//              for each k        s0 = fma(a[m][2k], b[k][2n], s0)
//                                s1 = fma(a[m][2k+1], b[k][2n+1], s1)
//              then              d[m][n] = d[m][n] + (s0 + s1)
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/bf16_pairs.h"
#include "kernels/vec_scalar.h"

namespace zs::kernels {
namespace {

// Denormals to zero of the same sign.
inline float flushed(float a) {
  return std::fabs(a) < 0x1p-126f ? std::copysign(0.0f, a) : a;
}

// a and b are BF16, so that their product is exact in double.
inline float flushing_fma(float a, float b, float c) {
  a = flushed(a), b = flushed(b), c = flushed(c);
  const float sum = std::fma(a, b, c);
  // Whether a result is denormal is seen once it is rounded to 24 bits, as if exponents went on:
  // 2^-126 - 2^-150 is, though the nearest float with denormals is 2^-126. The double is exact
  // wherever the limit is near.
  const double size = std::fabs(double{a} * b + c);
  return size < 0x1p-126 - 0x1p-151 ? std::copysign(0.0f, sum) : sum;
}

struct FlushingVec : ScalarVec {
  static F add(const F& a, const F& b) {
    return each([&](int i) { return flushed(flushed(a.v[i]) + flushed(b.v[i])); });
  }
};

struct Bf16DotModel {
  using V = FlushingVec;
  using F = V::F;
  using I = V::I;

  struct Use {
    Use() {}
  };

  static F dot(const F& sum, const I& w, const I& x) {
    return V::each([&](int i) {
      const float upper = flushing_fma(high(w.v[i]), high(x.v[i]), sum.v[i]);
      return flushing_fma(low(w.v[i]), low(x.v[i]), upper);
    });
  }
  static void quad(const uint8_t* packed, I& even, I& odd) {
    even = two(packed + 2 * kBf16Column, packed);
    odd = two(packed + 3 * kBf16Column, packed + kBf16Column);
  }
  static I pair(const uint8_t* packed) { return two(packed, packed + kBf16Column); }

  static void round_quads(const float* from, size_t n, uint32_t* x) {
    uint16_t rounded[kBf16Columns];
    round(from, n, rounded);
    for (size_t i = 0; i < kBf16Columns / 2; ++i) {
      const uint16_t* first = rounded + i / 2 * 4 + i % 2;
      x[i] = uint32_t{first[0]} << 16 | first[2];
    }
  }
  static void round(const float* from, size_t n, uint16_t* x) {
    for (size_t k = 0; k < kBf16Columns; ++k) x[k] = k < n ? rounded(from[k]) : uint16_t{0};
  }

 private:
  static float high(int32_t pair) {
    return std::bit_cast<float>(static_cast<uint32_t>(pair) & 0xffff0000u);
  }
  static float low(int32_t pair) { return std::bit_cast<float>(static_cast<uint32_t>(pair) << 16); }
  static I two(const uint8_t* lower, const uint8_t* upper) {
    return V::ior(V::iload_u16(reinterpret_cast<const uint16_t*>(lower)),
                  V::ishl(V::iload_u16(reinterpret_cast<const uint16_t*>(upper)), 16));
  }
  // VCVTNEPS2BF16: to nearest even, a NaN quiet, denormals to zero.
  static uint16_t rounded(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(flushed(value));
    if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40u);
    return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
  }
};

struct Bf16TileModel {
  static constexpr size_t kMinTokens = 3;  // both ways of a product are tested
  struct Use {
    Use() {}
  };

  static void product(const Bf16Panel* w, const Bf16Rows& x, size_t steps, size_t panels,
                      Bf16Sums* sums) {
    for (size_t t = 0; t < kTileRows; ++t) {
      for (size_t p = 0; p < panels; ++p) {
        for (size_t row = 0; row < kPanelRows; ++row) {
          for (size_t step = 0; step < steps; ++step) {
            float part[2] = {};
            for (size_t k = 0; k < kBf16Columns; ++k) {
              const float a = value(x[t][step * kBf16Columns + k]);
              const float b = value(w[p][step * kBf16Columns / 2 + k / 2][row][k % 2]);
              part[k % 2] = flushing_fma(a, b, part[k % 2]);
            }
            sums[t][p][row] = flushed(flushed(sums[t][p][row]) + flushed(part[0] + part[1]));
          }
        }
      }
    }
  }

 private:
  static float value(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

}  // namespace
}  // namespace zs::kernels
