// IQ4_XS: 256 values of 4 bits that index a codebook, in 8 groups,
// value = d * (scale - 32) * codebook[q].
#pragma once

#include "quant/iq4_codebook.h"
#include "quant/nibbles.h"

namespace zs::quant {
namespace {

// Head: d[16] (f16), high bits of the scales [16] (u16). Body: a vector of their low halves, 32
// vectors of nibbles. The bits of the scales are reordered: see pack().
struct IQ4_XS {
  struct [[gnu::packed, gnu::may_alias]] Block {
    uint16_t d;           // f16
    uint16_t scales_h;    // bits 2 g, 2 g + 1: high bits of the scale of group g
    uint8_t scales_l[4];  // low bits of scale 2 j in the low half of byte j, 2 j + 1 in the high
    uint8_t qs[128];      // 8 x 16 bytes: nibbles.h
  };
  static_assert(sizeof(Block) == 136);

  static constexpr ActivationKind kActivations = ActivationKind::Q8_K;
  static constexpr int kBlockValues = 256;
  static constexpr int kGroup = 32, kUnits = 4, kUnitGroups = 2;
  static constexpr int kMax = kSigned, kOffset = 0;
  static constexpr bool kMinimum = false, kSignedScales = true;
  static constexpr bool kPrefetchAlone = true;
  static constexpr int kScaleLimit = 32, kMinimumLimit = 0;
  static constexpr size_t kScalesHigh = 32, kHead = 64, kLow = kVectorBytes;

  static int low_bits(const Block& block, int g) {
    return block.scales_l[g / 2] >> 4 * (g % 2) & 15;
  }
  static int high_bits(const Block& block, int g) { return block.scales_h >> 2 * g & 3; }

  static void decode(const Block& block, float* out) {
    const float d = half_to_float(block.d);
    for (int g = 0; g < 8; ++g) {
      const int integer = (low_bits(block, g) | high_bits(block, g) << 4) - 32;
      const float scale = d * static_cast<float>(integer);
      for (int i = 0; i < 32; ++i) {
        out[32 * g + i] = scale * static_cast<float>(kIq4Codebook[nibble(block.qs + 16 * g, i)]);
      }
    }
  }

  // Byte b of the low halves has group g in its low half and group g + 4 in its high half,
  // where b = byte_of_group(g); nibble b of the high bits has both in the same order.
  static void pack(const Block& block, PanelBlock panel, int row) {
    uint32_t low = 0, high = 0;
    for (int g = 0; g < 4; ++g) {
      const int b = byte_of_group(g);
      low |= static_cast<uint32_t>(low_bits(block, g) | low_bits(block, g + 4) << 4) << 8 * b;
      high |= static_cast<uint32_t>(high_bits(block, g) | high_bits(block, g + 4) << 2) << 4 * b;
    }
    put_half(panel.head, row, block.d);
    put_half(panel.head + kScalesHigh, row, static_cast<uint16_t>(high));
    put_dword(panel.body, row, low);
    put_dwords(panel.body + kLow, row, block.qs, 32);
  }

  static constexpr int group(int unit, int slot) { return 2 * unit + slot; }
  template <class V, int Unit, class Fn>
  ZS_INLINE static void values(ConstPanelBlock panel, Fn&& fn) {
    unroll<2>([&](auto slot) ZS_INLINE_LAMBDA {
      const uint8_t* vectors =
          panel.body + kLow + kNibbleVectors * kVectorBytes * (2 * Unit + slot);
      nibble_values<V>(vectors, [&](auto step, typename V::I index)
                                    ZS_INLINE_LAMBDA { fn(slot, step, iq4_lookup<V>(index)); });
    });
  }
  template <class V>
  ZS_INLINE static typename V::F scale(ConstPanelBlock panel) {
    return load_halves<V>(panel.head);
  }
  template <class V>
  ZS_INLINE static void scales(ConstPanelBlock panel, typename V::I* out) {
    const typename V::I low = vector_at<V>(panel.body, 0);
    typename V::I high = V::iload_u16(reinterpret_cast<const uint16_t*>(panel.head + kScalesHigh));
    high = V::iand(V::ior(high, V::ishl(high, 8)), 0x00ff00ff);  // a nibble to each byte
    high = V::iand(V::ior(high, V::ishl(high, 4)), 0x0f0f0f0f);
    out[0] = V::ior(move_bits<V, 0, 0>(low, 15), move_bits<V, 0, 4>(high, 48));
    out[1] = V::ior(move_bits<V, 4, 0>(low, 15), move_bits<V, 2, 4>(high, 48));
    out[0] = V::bsub(out[0], 32);
    out[1] = V::bsub(out[1], 32);
  }
};

}  // namespace
}  // namespace zs::quant
