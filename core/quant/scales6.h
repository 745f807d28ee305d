// The 12 bytes of Q4_K and Q5_K that hold 8 scales and 8 minimums of 6 bits:
//   byte j (0..3)      low 6 bits: scale j;    high 2 bits: those of scale 4 + j
//   byte 4 + j         low 6 bits: minimum j;  high 2 bits: those of minimum 4 + j
//   byte 8 + j         low half: low 4 bits of scale 4 + j;  high half: of minimum 4 + j
#pragma once

#include "quant/codec.h"

namespace zs::quant {
namespace {

ZS_INLINE int scale6(const uint8_t* bytes, int g) {
  return g < 4 ? bytes[g] & 63 : (bytes[g + 4] & 15) | (bytes[g - 4] >> 6) << 4;
}
ZS_INLINE int minimum6(const uint8_t* bytes, int g) {
  return g < 4 ? bytes[g + 4] & 63 : (bytes[g + 4] >> 4) | (bytes[g] >> 6) << 4;
}

// A vector of each 4 bytes, reordered within the dword.
ZS_INLINE void pack_scales6(const uint8_t* bytes, uint8_t* vectors, int row) {
  for (size_t i = 0; i < 3; ++i) {
    put_dword(vectors + i * kVectorBytes, row, interleave_groups(load32(bytes + 4 * i)));
  }
}
template <class V>
ZS_INLINE void unpack_scales6(const uint8_t* vectors, typename V::I* out) {
  const typename V::I first = vector_at<V>(vectors, 0), last = vector_at<V>(vectors, 2);
  out[0] = move_bits<V, 0, 0>(first, 0x3f);
  out[1] = V::ior(move_bits<V, 0, 0>(last, 0x0f), move_bits<V, 6, 4>(first, 0x30));
}
template <class V>
ZS_INLINE void unpack_minimums6(const uint8_t* vectors, typename V::I* out) {
  const typename V::I first = vector_at<V>(vectors, 1), last = vector_at<V>(vectors, 2);
  out[0] = move_bits<V, 0, 0>(first, 0x3f);
  out[1] = V::ior(move_bits<V, 4, 0>(last, 0x0f), move_bits<V, 6, 4>(first, 0x30));
}

}  // namespace
}  // namespace zs::quant
