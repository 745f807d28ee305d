// BF16: bfloat16 weights: the upper half of a float32.
#pragma once

#include <bit>

#include "quant/codec.h"

namespace zs::quant {
namespace {

struct BF16 {
  struct [[gnu::packed, gnu::may_alias]] Block {
    uint16_t value;
  };
  static_assert(sizeof(Block) == 2);

  static constexpr ActivationKind kActivations = ActivationKind::F32;
  static constexpr int kBlockValues = 1;
  static constexpr size_t kHead = 0;

  static void decode(const Block& block, float* out) {
    *out = std::bit_cast<float>(uint32_t{block.value} << 16);
  }

  static void pack(const Block& block, PanelBlock panel, int row) {
    std::memcpy(panel.body + 2 * row, &block.value, 2);
  }

  template <class V>
  ZS_INLINE static typename V::F values(const uint8_t* panel) {
    return V::load_bf16(reinterpret_cast<const uint16_t*>(panel));
  }
};

}  // namespace
}  // namespace zs::quant
