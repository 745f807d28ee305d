// float16 <-> float32 in plain C++, with the bits of the F16C instructions.
#pragma once

#include <bit>
#include <cstdint>

namespace zs::quant {
namespace {

[[gnu::always_inline]] inline float half_to_float(uint16_t half) {
  // The exponent is rebased by one exact multiplication (2^112); subnormals come out right.
  const uint32_t magnitude = (half & 0x7fffu) << 13;
  uint32_t bits = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  if (magnitude >= 0x0f800000u) bits = magnitude | 0x7f800000u;  // infinity or NaN,
  if (magnitude > 0x0f800000u) bits |= 0x00400000u;              // which is made quiet
  return std::bit_cast<float>(bits | (half & 0x8000u) << 16);
}

[[gnu::always_inline]] inline uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {  // NaN: quiet, with what is left of its payload
    half = 0x7e00u | (magnitude >> 13 & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {  // rounds to 65536 or more
    half = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {  // normal: round the 13 dropped bits to nearest even
    half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  } else {  // subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    half = std::bit_cast<uint32_t>(shifted) - 0x3f000000u;
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace
}  // namespace zs::quant
