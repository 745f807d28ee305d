// The matrix products of a vector class, as entries of a table.
#pragma once

#include "kernels/linear_float.h"
#include "kernels/linear_legacy.h"
#include "kernels/linear_matmul.h"
#include "kernels/linear_super.h"
#include "kernels/table.h"
#include "quant/codecs.h"

namespace zs::kernels {
namespace {

template <class V, class Codec, ActivationKind = Codec::kActivations>
struct LinearOf;
template <class V, class Codec>
struct LinearOf<V, Codec, ActivationKind::F32> : Matmul<FloatKernel<V, Codec>> {};
template <class V, class Codec>
struct LinearOf<V, Codec, ActivationKind::Q8_32> : Matmul<LegacyKernel<V, Codec>> {};
template <class V, class Codec>
struct LinearOf<V, Codec, ActivationKind::Q8_K> : Matmul<SuperKernel<V, Codec>> {};

template <class V>
constexpr void set_products(Table& t) {
#define ZS_FORMAT(type, name, id) \
  t.matmul[static_cast<size_t>(Format::type)] = LinearOf<V, quant::type>::run;
#include "quant/formats.inc"
#undef ZS_FORMAT
}

// `base` with the integer products of V, which has other instructions for those alone.
template <class V>
Table with_products(const Table& base, Isa isa) {
  Table t = base;
  t.isa = isa;
#define ZS_FORMAT(type, name, id)                                                \
  if constexpr (quant::type::kActivations != ActivationKind::F32) {              \
    t.matmul[static_cast<size_t>(Format::type)] = LinearOf<V, quant::type>::run; \
  }
#include "quant/formats.inc"
#undef ZS_FORMAT
  return t;
}

}  // namespace
}  // namespace zs::kernels
