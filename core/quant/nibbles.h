// Blocks of 32 values stored as 16 bytes: value i in the low half of byte i, value i + 16 in
// the high half of byte i. Several formats share it.
#pragma once

#include "quant/codec.h"

namespace zs::quant {
namespace {

inline constexpr size_t kNibbleVectors = 4;  // of a panel block of 32 values

// Value i of a block.
ZS_INLINE int nibble(const uint8_t* bytes, int i) {
  return i < 16 ? bytes[i] & 15 : bytes[i - 16] >> 4;
}

// Calls fn(step, bytes) for the 8 steps of one group.
template <class V, class Fn>
ZS_INLINE void nibble_values(const uint8_t* vectors, Fn&& fn) {
  typename V::I packed[4];
  unroll<4>([&](auto i) ZS_INLINE_LAMBDA {
    packed[i] = vector_at<V>(vectors, i);
    fn(i, V::iand(packed[i], 0x0f0f0f0f));
  });
  unroll<4>([&](auto i) ZS_INLINE_LAMBDA {
    fn(Index<i.value + 4>{}, V::iand(V::ishr(packed[i], 4), 0x0f0f0f0f));
  });
}

// The same with a fifth bit: bit `step` of the bytes of `high`, as interleave_bits() puts it.
template <class V, class Fn>
ZS_INLINE void nibble_values_5bit(const uint8_t* vectors, typename V::I high, Fn&& fn) {
  nibble_values<V>(vectors, [&](auto step, typename V::I low) ZS_INLINE_LAMBDA {
    fn(step, V::ior(low, move_bits<V, step.value, 4>(high, 0x10)));
  });
}

// Moves bit 4 * step + b to bit `step` of byte b.
ZS_INLINE uint32_t interleave_bits(uint32_t bits) {
  uint32_t result = 0;
  for (int b = 0; b < 4; ++b) {
    uint32_t every4th = bits >> b & 0x11111111u;
    every4th = (every4th | every4th >> 3) & 0x03030303u;
    every4th = (every4th | every4th >> 6) & 0x000f000fu;
    every4th = (every4th | every4th >> 12) & 0xffu;
    result |= every4th << 8 * b;
  }
  return result;
}

}  // namespace
}  // namespace zs::quant
