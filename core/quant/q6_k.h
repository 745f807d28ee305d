// Q6_K: 256 values of 6 bits in 16 groups, value = d * scale * (q - 32).
#pragma once

#include "quant/codec.h"

namespace zs::quant {
namespace {

// Head: d[16] (f16). Body: 4 vectors of scales, then four parts of 4 vectors of low halves, 4 of
// high bits, 4 of low halves: in the order of reading, or the processor's prefetch does not follow
// (measured on Zen 4, one token: a third of the speed with all low halves first).
struct Q6_K {
  struct [[gnu::packed, gnu::may_alias]] Block {
    // Of 128 values h, value 32 s + i has its low 4 bits in a half (low for s < 2) of byte
    // 64 h + 32 (s % 2) + i of ql, and the others in bits 2 s, 2 s + 1 of byte 32 h + i of qh.
    uint8_t ql[128], qh[64];
    int8_t scales[16];
    uint16_t d;  // f16
  };
  static_assert(sizeof(Block) == 210);

  static constexpr ActivationKind kActivations = ActivationKind::Q8_K;
  static constexpr int kBlockValues = 256;
  static constexpr int kGroup = 16, kUnits = 8, kUnitGroups = 2;
  static constexpr int kMax = 63, kOffset = 32;
  static constexpr bool kMinimum = false, kSignedScales = true;
  static constexpr bool kPrefetchAlone = false;
  static constexpr int kScaleLimit = 128, kMinimumLimit = 0;
  static constexpr size_t kHead = 32, kValues = 4 * kVectorBytes, kPartBytes = 12 * kVectorBytes,
                          kPartHigh = 4 * kVectorBytes;

  static void decode(const Block& block, float* out) {
    const float d = half_to_float(block.d);
    for (int k = 0; k < kBlockValues; ++k) {
      const int h = k / 128, s = k / 32 % 4, i = k % 32;
      const int low = block.ql[64 * h + 32 * (s % 2) + i] >> 4 * (s / 2) & 15;
      const int high = block.qh[32 * h + i] >> 2 * s & 3;
      const float scale = d * static_cast<float>(block.scales[k / 16]);
      out[k] = scale * static_cast<float>((low | high << 4) - kOffset);
    }
  }

  static void pack(const Block& block, PanelBlock panel, int row) {
    put_half(panel.head, row, block.d);
    for (size_t i = 0; i < 4; ++i) {
      put_dword(panel.body + i * kVectorBytes, row,
                interleave_groups(load32(block.scales + 4 * i)));
    }
    for (int part = 0; part < 4; ++part) {
      const int h = part / 2, i = 16 * (part % 2);
      uint8_t* vectors = panel.body + kValues + static_cast<size_t>(part) * kPartBytes;
      put_dwords(vectors, row, block.ql + 64 * h + i, 4);
      put_dwords(vectors + kPartHigh, row, block.qh + 32 * h + i, 4);
      put_dwords(vectors + kPartHigh + 4 * kVectorBytes, row, block.ql + 64 * h + 32 + i, 4);
    }
  }

  // A part of the panel block is every second group of 128 values: those that share high bits.
  // A unit is the half of them that shares low bytes too.
  static constexpr int group(int unit, int slot) {
    return 8 * (unit / 4) + unit / 2 % 2 + 2 * (unit % 2) + 4 * slot;
  }
  template <class V, int Unit, class Fn>
  ZS_INLINE static void values(ConstPanelBlock panel, Fn&& fn) {
    const uint8_t* part = panel.body + kValues + Unit / 2 * kPartBytes;
    constexpr int kBit = 2 * (Unit % 2);
    unroll<4>([&](auto step) ZS_INLINE_LAMBDA {
      const typename V::I low = vector_at<V>(part, Unit % 2 * 8 + step);
      const typename V::I high = vector_at<V>(part + kPartHigh, step);
      fn(Index<0>{}, step, V::ior(move_bits<V, 0, 0>(low, 15), move_bits<V, kBit, 4>(high, 48)));
      fn(Index<1>{}, step,
         V::ior(move_bits<V, 4, 0>(low, 15), move_bits<V, kBit + 4, 4>(high, 48)));
    });
  }
  template <class V>
  ZS_INLINE static typename V::F scale(ConstPanelBlock panel) {
    return load_halves<V>(panel.head);
  }
  template <class V>
  ZS_INLINE static void scales(ConstPanelBlock panel, typename V::I* out) {
    unroll<4>([&](auto i) ZS_INLINE_LAMBDA { out[i] = vector_at<V>(panel.body, i); });
  }
};

}  // namespace
}  // namespace zs::quant
