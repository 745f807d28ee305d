// Q2_K: 256 values of 2 bits in 16 groups, value = d * scale * q - dmin * minimum.
#pragma once

#include "quant/codec.h"

namespace zs::quant {
namespace {

// Head: d[16], dmin[16] (f16). Body: 4 vectors of scales and minimums, 16 vectors of values.
struct Q2_K {
  struct [[gnu::packed, gnu::may_alias]] Block {
    uint8_t scales[16];  // low half: scale of a group, high half: its minimum
    uint8_t qs[64];      // of 128 values h, value 32 s + i: bits 2 s, 2 s + 1 of byte 32 h + i
    uint16_t d, dmin;    // f16
  };
  static_assert(sizeof(Block) == 84);

  static constexpr ActivationKind kActivations = ActivationKind::Q8_K;
  static constexpr int kBlockValues = 256;
  static constexpr int kGroup = 16, kUnits = 8, kUnitGroups = 2;
  static constexpr int kMax = 3, kOffset = 0;
  static constexpr bool kMinimum = true, kSignedScales = false;
  static constexpr bool kPrefetchAlone = false;
  static constexpr int kScaleLimit = 15, kMinimumLimit = 15;
  static constexpr size_t kMinimums = 32, kHead = 64, kLow = 4 * kVectorBytes;

  static void decode(const Block& block, float* out) {
    const float d = half_to_float(block.d), dmin = half_to_float(block.dmin);
    for (int k = 0; k < kBlockValues; ++k) {
      const int h = k / 128, s = k / 32 % 4, i = k % 32;
      const float scale = d * static_cast<float>(block.scales[k / 16] & 15);
      const float minimum = dmin * static_cast<float>(block.scales[k / 16] >> 4);
      out[k] = scale * static_cast<float>(block.qs[32 * h + i] >> 2 * s & 3) - minimum;
    }
  }

  static void pack(const Block& block, PanelBlock panel, int row) {
    put_half(panel.head, row, block.d);
    put_half(panel.head + kMinimums, row, block.dmin);
    for (size_t i = 0; i < 4; ++i) {
      put_dword(panel.body + i * kVectorBytes, row,
                interleave_groups(load32(block.scales + 4 * i)));
    }
    put_dwords(panel.body + kLow, row, block.qs, 16);
  }

  // Every second group of 128 values shares bytes; a unit is two of those four groups.
  static constexpr int group(int unit, int slot) {
    return 8 * (unit / 4) + unit / 2 % 2 + 4 * (unit % 2) + 2 * slot;
  }
  template <class V, int Unit, class Fn>
  ZS_INLINE static void values(ConstPanelBlock panel, Fn&& fn) {
    unroll<4>([&](auto step) ZS_INLINE_LAMBDA {
      const typename V::I packed = vector_at<V>(panel.body + kLow, 4 * (Unit / 2) + step);
      unroll<2>([&](auto slot) ZS_INLINE_LAMBDA {
        constexpr int kShare = 2 * (Unit % 2) + slot.value;
        fn(slot, step, move_bits<V, 2 * kShare, 0>(packed, 3));
      });
    });
  }
  template <class V>
  ZS_INLINE static typename V::F scale(ConstPanelBlock panel) {
    return load_halves<V>(panel.head);
  }
  template <class V>
  ZS_INLINE static typename V::F minimum(ConstPanelBlock panel) {
    return load_halves<V>(panel.head + kMinimums);
  }
  template <class V>
  ZS_INLINE static void scales(ConstPanelBlock panel, typename V::I* out) {
    unroll<4>([&](auto i) ZS_INLINE_LAMBDA {
      out[i] = move_bits<V, 0, 0>(vector_at<V>(panel.body, i), 15);
    });
  }
  template <class V>
  ZS_INLINE static void minimums(ConstPanelBlock panel, typename V::I* out) {
    unroll<4>([&](auto i) ZS_INLINE_LAMBDA {
      out[i] = move_bits<V, 4, 0>(vector_at<V>(panel.body, i), 15);
    });
  }
};

}  // namespace
}  // namespace zs::quant
