// Q8_0: 32 values of 8 bits, value = d * q.
#pragma once

#include "quant/codec.h"

namespace zs::quant {
namespace {

// Head: d[16] (f16). Body: 8 vectors of bytes.
struct Q8_0 {
  struct [[gnu::packed, gnu::may_alias]] Block {
    uint16_t d;  // f16
    int8_t qs[32];
  };
  static_assert(sizeof(Block) == 34);

  static constexpr ActivationKind kActivations = ActivationKind::Q8_32;
  static constexpr int kBlockValues = 32;
  static constexpr int kGroup = 32, kUnits = 1, kUnitGroups = 1;
  static constexpr int kMax = kSigned, kOffset = 0;
  static constexpr bool kMinimum = false;
  static constexpr bool kPrefetchAlone = false;
  static constexpr size_t kHead = 32;

  static void decode(const Block& block, float* out) {
    const float d = half_to_float(block.d);
    for (int i = 0; i < kBlockValues; ++i) out[i] = static_cast<float>(block.qs[i]) * d;
  }

  static void pack(const Block& block, PanelBlock panel, int row) {
    put_half(panel.head, row, block.d);
    put_dwords(panel.body, row, block.qs, 8);
  }

  static constexpr int group(int, int) { return 0; }
  template <class V, int Unit, class Fn>
  ZS_INLINE static void values(ConstPanelBlock panel, Fn&& fn) {
    unroll<8>([&](auto step) ZS_INLINE_LAMBDA {
      fn(Index<0>{}, step, V::signed_bytes(vector_at<V>(panel.body, step)));
    });
  }
  template <class V>
  ZS_INLINE static typename V::F scale(ConstPanelBlock panel) {
    return load_halves<V>(panel.head);
  }
};

}  // namespace
}  // namespace zs::quant
