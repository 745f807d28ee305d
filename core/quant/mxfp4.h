// MXFP4 (OCP Microscaling Formats 1.0): 32 values of 4 bits (E2M1), one power-of-two scale
// (E8M0). The codebook holds twice the value, so the scale is 2^(e - 127) / 2.
#pragma once

#include <bit>

#include "quant/nibbles.h"

namespace zs::quant {

inline constexpr int8_t kE2m1Doubled[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};
inline constexpr uint8_t kE2m1Plus12[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                            12, 11, 10, 9,  8,  6,  4,  0};

namespace {

// Head: e[16]. Body: 4 vectors of nibbles.
struct MXFP4 {
  struct [[gnu::packed, gnu::may_alias]] Block {
    uint8_t e;       // scale 2^(e - 128)
    uint8_t qs[16];  // nibbles.h
  };
  static_assert(sizeof(Block) == 17);

  static constexpr ActivationKind kActivations = ActivationKind::Q8_32;
  static constexpr int kBlockValues = 32;
  static constexpr int kGroup = 32, kUnits = 1, kUnitGroups = 1;
  static constexpr int kMax = 24, kOffset = 12;
  static constexpr bool kMinimum = false;
  static constexpr bool kPrefetchAlone = false;
  static constexpr size_t kHead = 16;

  static void decode(const Block& block, float* out) {
    // 2^-128 and 2^-127 are subnormal floats.
    const uint32_t bits = block.e < 2 ? 0x00200000u << block.e : (block.e - 1u) << 23;
    const float d = std::bit_cast<float>(bits);
    for (int i = 0; i < kBlockValues; ++i) {
      out[i] = d * static_cast<float>(kE2m1Doubled[nibble(block.qs, i)]);
    }
  }

  static void pack(const Block& block, PanelBlock panel, int row) {
    panel.head[row] = block.e;
    put_dwords(panel.body, row, block.qs, kNibbleVectors);
  }

  static constexpr int group(int, int) { return 0; }
  template <class V, int Unit, class Fn>
  ZS_INLINE static void values(ConstPanelBlock panel, Fn&& fn) {
    nibble_values<V>(panel.body, [&](auto step, typename V::I index) ZS_INLINE_LAMBDA {
      fn(Index<0>{}, step, V::lookup16(index, kE2m1Plus12));
    });
  }
  // 2^(e - 128) as the exact product of two normal powers of two, 2^(h - 64) * 2^(e - h - 64).
  template <class V>
  ZS_INLINE static typename V::F scale(ConstPanelBlock panel) {
    const typename V::I e = V::iload_u8(panel.head), h = V::ishr(e, 1), bias = V::iset1(127 - 64);
    return V::mul(V::bits_to_float(V::ishl(V::iadd(h, bias), 23)),
                  V::bits_to_float(V::ishl(V::iadd(V::isub(e, h), bias), 23)));
  }
};

}  // namespace
}  // namespace zs::quant
