// IQ4_NL: 32 values of 4 bits that index a codebook, value = d * codebook[q].
#pragma once

#include "quant/iq4_codebook.h"
#include "quant/nibbles.h"

namespace zs::quant {
namespace {

// Head: d[16] (f16). Body: 4 vectors of nibbles.
struct IQ4_NL {
  struct [[gnu::packed, gnu::may_alias]] Block {
    uint16_t d;      // f16
    uint8_t qs[16];  // nibbles.h
  };
  static_assert(sizeof(Block) == 18);

  static constexpr ActivationKind kActivations = ActivationKind::Q8_32;
  static constexpr int kBlockValues = 32;
  static constexpr int kGroup = 32, kUnits = 1, kUnitGroups = 1;
  static constexpr int kMax = kSigned, kOffset = 0;
  static constexpr bool kMinimum = false;
  static constexpr bool kPrefetchAlone = true;
  static constexpr size_t kHead = 32;

  static void decode(const Block& block, float* out) {
    const float d = half_to_float(block.d);
    for (int i = 0; i < kBlockValues; ++i) {
      out[i] = d * static_cast<float>(kIq4Codebook[nibble(block.qs, i)]);
    }
  }

  static void pack(const Block& block, PanelBlock panel, int row) {
    put_half(panel.head, row, block.d);
    put_dwords(panel.body, row, block.qs, kNibbleVectors);
  }

  static constexpr int group(int, int) { return 0; }
  template <class V, int Unit, class Fn>
  ZS_INLINE static void values(ConstPanelBlock panel, Fn&& fn) {
    nibble_values<V>(panel.body, [&](auto step, typename V::I index) ZS_INLINE_LAMBDA {
      fn(Index<0>{}, step, iq4_lookup<V>(index));
    });
  }
  template <class V>
  ZS_INLINE static typename V::F scale(ConstPanelBlock panel) {
    return load_halves<V>(panel.head);
  }
};

}  // namespace
}  // namespace zs::quant
