// Q5_1: 32 values of 5 bits, value = d * q + m.
#pragma once

#include "quant/nibbles.h"

namespace zs::quant {
namespace {

// Head: d[16], m[16] (f16). Body: a vector of fifth bits, 4 vectors of nibbles.
struct Q5_1 {
  struct [[gnu::packed, gnu::may_alias]] Block {
    uint16_t d;      // f16
    uint16_t m;      // f16
    uint8_t qh[4];   // fifth bit of value i: bit i
    uint8_t qs[16];  // nibbles.h
  };
  static_assert(sizeof(Block) == 24);

  static constexpr ActivationKind kActivations = ActivationKind::Q8_32;
  static constexpr int kBlockValues = 32;
  static constexpr int kGroup = 32, kUnits = 1, kUnitGroups = 1;
  static constexpr int kMax = 31, kOffset = 0;
  static constexpr bool kPrefetchAlone = true;
  static constexpr bool kMinimum = true;
  static constexpr size_t kMinimums = 32, kHead = 64, kLow = kVectorBytes;

  static void decode(const Block& block, float* out) {
    const float d = half_to_float(block.d);
    const float m = half_to_float(block.m);
    const uint32_t high = load32(block.qh);
    for (int i = 0; i < kBlockValues; ++i) {
      out[i] = d * static_cast<float>(nibble(block.qs, i) | int(high >> i & 1) << 4) + m;
    }
  }

  static void pack(const Block& block, PanelBlock panel, int row) {
    put_half(panel.head, row, block.d);
    put_half(panel.head + kMinimums, row, block.m);
    put_dword(panel.body, row, interleave_bits(load32(block.qh)));
    put_dwords(panel.body + kLow, row, block.qs, kNibbleVectors);
  }

  static constexpr int group(int, int) { return 0; }
  template <class V, int Unit, class Fn>
  ZS_INLINE static void values(ConstPanelBlock panel, Fn&& fn) {
    const typename V::I high = vector_at<V>(panel.body, 0);
    nibble_values_5bit<V>(panel.body + kLow, high,
                          [&](auto step, typename V::I bytes)
                              ZS_INLINE_LAMBDA { fn(Index<0>{}, step, bytes); });
  }
  template <class V>
  ZS_INLINE static typename V::F scale(ConstPanelBlock panel) {
    return load_halves<V>(panel.head);
  }
  template <class V>
  ZS_INLINE static typename V::F minimum(ConstPanelBlock panel) {
    return load_halves<V>(panel.head + kMinimums);
  }
};

}  // namespace
}  // namespace zs::quant
