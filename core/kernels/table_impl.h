// Fills the table of one instruction set from its vector class.
#pragma once

#include "kernels/attention.h"
#include "kernels/linear_float.h"
#include "kernels/linear_legacy.h"
#include "kernels/linear_matmul.h"
#include "kernels/linear_super.h"
#include "kernels/quantize.h"
#include "kernels/rowops.h"
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
constexpr Table make_table(Isa isa) {
  Table t;
  t.isa = isa;
#define ZS_FORMAT(type, name, id) \
  t.matmul[static_cast<size_t>(Format::type)] = LinearOf<V, quant::type>::run;
#include "quant/formats.inc"
#undef ZS_FORMAT
  t.quantize_q8_k = QuantizeOps<V>::quantize_q8_k;
  t.quantize_q8_32 = QuantizeOps<V>::quantize_q8_32;

  t.rms_norm = RowOps<V>::rms_norm;
  t.layer_norm = RowOps<V>::layer_norm;
  t.add = RowOps<V>::add;
  t.activate = RowOps<V>::activate;
  t.sigmoid = RowOps<V>::sigmoid;
  t.scale = RowOps<V>::scale;
  t.axpy = RowOps<V>::axpy;
  t.exp_sum = RowOps<V>::exp_sum;
  t.softcap = RowOps<V>::softcap;
  t.rope_neox = RowOps<V>::rope_neox;
  t.rope_normal = RowOps<V>::rope_normal;

  t.attention_tile = AttentionOps<V>::attention_tile;
  t.store_kv = AttentionOps<V>::store_kv;
  return t;
}

}  // namespace
}  // namespace zs::kernels
