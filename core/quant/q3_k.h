// Q3_K: 256 values of 3 bits in 16 groups, value = d * (scale - 32) * (q - 4).
#pragma once

#include "quant/codec.h"

namespace zs::quant {
namespace {

// Head: d[16] (f16). Body: 3 vectors of scales, 8 of third bits, 16 of low bits.
struct Q3_K {
  struct [[gnu::packed, gnu::may_alias]] Block {
    uint8_t hmask[32];   // bit g of byte i: third bit of value 32 g + i
    uint8_t qs[64];      // of 128 values h, value 32 s + i: bits 2 s, 2 s + 1 of byte 32 h + i
    uint8_t scales[12];  // scale 4 j + i: low 4 bits in a half of byte 4 (j % 2) + i (the low
                         // one for j < 2), high bits in bits 2 j, 2 j + 1 of byte 8 + i
    uint16_t d;          // f16
  };
  static_assert(sizeof(Block) == 110);

  static constexpr ActivationKind kActivations = ActivationKind::Q8_K;
  static constexpr int kBlockValues = 256;
  static constexpr int kGroup = 16, kUnits = 8, kUnitGroups = 2;
  static constexpr int kMax = 7, kOffset = 4;
  static constexpr bool kMinimum = false, kSignedScales = true;
  static constexpr bool kPrefetchAlone = true;
  static constexpr int kScaleLimit = 32, kMinimumLimit = 0;
  static constexpr size_t kHead = 32, kHigh = 3 * kVectorBytes, kLow = kHigh + 8 * kVectorBytes;

  static void decode(const Block& block, float* out) {
    const float d = half_to_float(block.d);
    for (int k = 0; k < kBlockValues; ++k) {
      const int h = k / 128, s = k / 32 % 4, i = k % 32, g = k / 16;
      const int low = block.qs[32 * h + i] >> 2 * s & 3;
      const int high = block.hmask[i] >> (4 * h + s) & 1;
      const int scale = (block.scales[g % 8] >> 4 * (g / 8) & 15) |
                        (block.scales[8 + g % 4] >> 2 * (g / 4) & 3) << 4;
      out[k] = d * static_cast<float>(scale - 32) * static_cast<float>((low | high << 2) - kOffset);
    }
  }

  static void pack(const Block& block, PanelBlock panel, int row) {
    put_half(panel.head, row, block.d);
    for (size_t i = 0; i < 3; ++i) {
      put_dword(panel.body + i * kVectorBytes, row,
                interleave_groups(load32(block.scales + 4 * i)));
    }
    put_dwords(panel.body + kLow, row, block.qs, 16);
    put_dwords(panel.body + kHigh, row, block.hmask, 8);
  }

  // Every second group of 128 values shares bytes; a unit is two of those four groups.
  static constexpr int group(int unit, int slot) {
    return 8 * (unit / 4) + unit / 2 % 2 + 4 * (unit % 2) + 2 * slot;
  }
  template <class V, int Unit, class Fn>
  ZS_INLINE static void values(ConstPanelBlock panel, Fn&& fn) {
    constexpr int kFirstLow = 4 * (Unit / 2), kFirstHigh = 4 * (Unit / 2 % 2);
    unroll<4>([&](auto step) ZS_INLINE_LAMBDA {
      const typename V::I low = vector_at<V>(panel.body + kLow, kFirstLow + step);
      const typename V::I high = vector_at<V>(panel.body + kHigh, kFirstHigh + step);
      unroll<2>([&](auto slot) ZS_INLINE_LAMBDA {
        constexpr int kShare = 2 * (Unit % 2) + slot.value, kBit = 4 * (Unit / 4) + kShare;
        fn(slot, step, V::ior(move_bits<V, 2 * kShare, 0>(low, 3), move_bits<V, kBit, 2>(high, 4)));
      });
    });
  }
  template <class V>
  ZS_INLINE static typename V::F scale(ConstPanelBlock panel) {
    return load_halves<V>(panel.head);
  }
  template <class V>
  ZS_INLINE static void scales(ConstPanelBlock panel, typename V::I* out) {
    const typename V::I high = vector_at<V>(panel.body, 2);
    unroll<4>([&](auto j) ZS_INLINE_LAMBDA {
      const typename V::I low = vector_at<V>(panel.body, j % 2);
      out[j] = V::bsub(V::ior(move_bits<V, 4 * (j.value / 2), 0>(low, 15),
                              move_bits<V, 2 * j.value, 4>(high, 48)),
                       32);
    });
  }
};

}  // namespace
}  // namespace zs::quant
