// Q5_K: 256 values of 5 bits in 8 groups, value = d * scale * q - dmin * minimum.
#pragma once

#include "quant/scales6.h"

namespace zs::quant {
namespace {

// Head: d[16], dmin[16] (f16). Body: 3 vectors of scales (scales6.h), 8 of fifth bits, 32
// vectors of nibbles.
struct Q5_K {
  struct [[gnu::packed, gnu::may_alias]] Block {
    uint16_t d, dmin;    // f16
    uint8_t scales[12];  // scales6.h
    uint8_t qh[32];      // bit g of byte i: fifth bit of value i of group g
    uint8_t qs[128];     // 4 x 32 bytes: low halves group 2h, high halves group 2h + 1
  };
  static_assert(sizeof(Block) == 176);

  static constexpr ActivationKind kActivations = ActivationKind::Q8_K;
  static constexpr int kBlockValues = 256;
  static constexpr int kGroup = 32, kUnits = 4, kUnitGroups = 2;
  static constexpr int kMax = 31, kOffset = 0;
  static constexpr bool kMinimum = true, kSignedScales = false;
  static constexpr bool kPrefetchAlone = true;
  static constexpr int kScaleLimit = 63, kMinimumLimit = 63;
  static constexpr size_t kMinimums = 32, kHead = 64, kHigh = 3 * kVectorBytes,
                          kLow = kHigh + 8 * kVectorBytes;

  static void decode(const Block& block, float* out) {
    const float d = half_to_float(block.d), dmin = half_to_float(block.dmin);
    for (int g = 0; g < 8; ++g) {
      const float scale = d * static_cast<float>(scale6(block.scales, g));
      const float minimum = dmin * static_cast<float>(minimum6(block.scales, g));
      const uint8_t* qs = block.qs + 32 * (g / 2);
      for (int i = 0; i < 32; ++i) {
        const int q = (qs[i] >> 4 * (g % 2) & 15) | (block.qh[i] >> g & 1) << 4;
        out[32 * g + i] = scale * static_cast<float>(q) - minimum;
      }
    }
  }

  static void pack(const Block& block, PanelBlock panel, int row) {
    put_half(panel.head, row, block.d);
    put_half(panel.head + kMinimums, row, block.dmin);
    pack_scales6(block.scales, panel.body, row);
    put_dwords(panel.body + kHigh, row, block.qh, 8);
    put_dwords(panel.body + kLow, row, block.qs, 32);
  }

  static constexpr int group(int unit, int slot) { return 2 * unit + slot; }
  template <class V, int Unit, class Fn>
  ZS_INLINE static void values(ConstPanelBlock panel, Fn&& fn) {
    unroll<8>([&](auto step) ZS_INLINE_LAMBDA {
      const typename V::I low = vector_at<V>(panel.body + kLow, 8 * Unit + step);
      const typename V::I high = vector_at<V>(panel.body + kHigh, step);
      fn(Index<0>{}, step,
         V::ior(move_bits<V, 0, 0>(low, 0x0f), move_bits<V, 2 * Unit, 4>(high, 0x10)));
      fn(Index<1>{}, step,
         V::ior(move_bits<V, 4, 0>(low, 0x0f), move_bits<V, 2 * Unit + 1, 4>(high, 0x10)));
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
    unpack_scales6<V>(panel.body, out);
  }
  template <class V>
  ZS_INLINE static void minimums(ConstPanelBlock panel, typename V::I* out) {
    unpack_minimums6<V>(panel.body, out);
  }
};

}  // namespace
}  // namespace zs::quant
