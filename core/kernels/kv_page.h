// Layout of a page of the KV cache: 64 positions of one KV head, keys and values apart.
//
// F32 and F16: keys [head_dim][64 positions], values [64 positions][value_dim up to 16s].
// Int8: a value is round(x / scale) + 128 in a byte, with one float scale a position, which is
// its largest magnitude / 127. Lanes of four bytes, as integer dot products take them:
//   keys    [head_dim / 4, rounded up][64 positions][4], then 64 scales
//   values  [64 positions / 4][value_dim up to 16s][4 positions], then 64 scales
#pragma once

#include <cstddef>

#include "kernels/table.h"

namespace zs::kernels {

// Bytes of a page's keys without scales, and of its values.
constexpr size_t key_code_bytes(int head_dim) {
  return size_t(head_dim + 3) / 4 * 4 * kPagePositions;
}
constexpr size_t value_code_bytes(int value_dim) {
  return size_t(value_dim + 15) / 16 * 16 * kPagePositions;
}

// Bytes of a page's keys and of its values, whole cache lines.
constexpr size_t key_page_bytes(KvType kv, int head_dim) {
  if (kv == KvType::Int8) return key_code_bytes(head_dim) + kPagePositions * sizeof(float);
  return size_t(head_dim) * kPagePositions * (kv == KvType::F32 ? 4 : 2);
}
constexpr size_t value_page_bytes(KvType kv, int value_dim) {
  const size_t codes = value_code_bytes(value_dim);
  if (kv == KvType::Int8) return codes + kPagePositions * sizeof(float);
  return codes * (kv == KvType::F32 ? 4 : 2);
}

}  // namespace zs::kernels
