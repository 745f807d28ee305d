// F32: float32 weights.
#pragma once

#include "quant/codec.h"

namespace zs::quant {
namespace {

struct F32 {
  struct [[gnu::packed, gnu::may_alias]] Block {
    float value;
  };
  static_assert(sizeof(Block) == 4);

  static constexpr ActivationKind kActivations = ActivationKind::F32;
  static constexpr int kBlockValues = 1;
  static constexpr size_t kHead = 0;

  static void decode(const Block& block, float* out) { *out = block.value; }

  static void pack(const Block& block, PanelBlock panel, int row) {
    std::memcpy(panel.body + 4 * row, &block.value, 4);
  }

  template <class V>
  ZS_INLINE static typename V::F values(const uint8_t* panel) {
    return V::load(reinterpret_cast<const float*>(panel));
  }
};

}  // namespace
}  // namespace zs::quant
