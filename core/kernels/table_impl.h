// Fills the table of one instruction set from its vector class.
#pragma once

#include "kernels/attention.h"
#include "kernels/linear_table.h"
#include "kernels/quantize.h"
#include "kernels/rowops.h"
#include "kernels/table.h"

namespace zs::kernels {
namespace {

template <class V>
constexpr Table make_table(Isa isa) {
  Table t;
  t.isa = isa;
  set_products<V>(t);
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
