// How a format header is written. Each quant/<name>.h defines one struct named as in
// formats.inc, in an anonymous namespace because instruction-set files instantiate it:
//
//   struct [[gnu::packed, gnu::may_alias]] Block { ... };  // of one row, as GGUF stores it
//   static constexpr ActivationKind kActivations;
//   static constexpr int kBlockValues;
//   static void decode(const Block&, float* out);
//   static void pack(const Block&, PanelBlock, int row);  // writes the lane of one row
//   static constexpr size_t kHead;             // see PanelBlock
//
// A panel block holds one block of 16 rows in exactly 16 * sizeof(Block) bytes. Over a vector
// class V (kernels/vec.h), float formats, whose blocks are one value, add
//
//   template <class V> static V::F values(const uint8_t* panel);
//
// and integer formats what kernels/linear_*.h multiply with:
//
//   kMax        the largest unsigned value; kSigned where values are signed bytes
//   kOffset     the constant subtracted from each value (0 where values are signed)
//   kMinimum    whether a minimum is subtracted (K-quants) or added (legacy formats)
//   kGroup      values per integer scale: 16 or 32
//   kPrefetchAlone  whether one token gains from prefetch; 10 to 50 % either way on Zen 4
//   kUnits, kUnitGroups, group(unit, slot)     // a unit yields kUnitGroups whole groups
//   template <class V, int Unit, class Fn> static void values(ConstPanelBlock, Fn&& fn);
//       // calls fn(slot, step, V::I bytes) with Index<> constants, steps of a slot in order;
//       // lane r of bytes has values 4 * step .. 4 * step + 3 of the group of row r
//   template <class V> static V::F scale(ConstPanelBlock);    // one float per row
//   template <class V> static V::F minimum(ConstPanelBlock);  // where kMinimum
//
// and super-blocks of 256 values, whose groups have integer scales, also
//
//   kSignedScales, kScaleLimit, kMinimumLimit  // largest absolute values
//   template <class V> static void scales(ConstPanelBlock, V::I* out);
//   template <class V> static void minimums(ConstPanelBlock, V::I* out);
//       // a byte per group, four groups a vector, in the order of byte_of_group()
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/unroll.h"
#include "quant/format.h"
#include "quant/half.h"

namespace zs::quant {

inline constexpr int kSigned = 255;

// The byte of a lane that holds group 4j + i. In this order even and odd bytes, widened to
// int16, are the neighbouring groups (4j, 4j + 1) and (4j + 2, 4j + 3).
constexpr int byte_of_group(int i) {
  return i % 4 == 1 ? 2 : i % 4 == 2 ? 1 : i % 4;
}

namespace {

inline constexpr size_t kVectorBytes = 64;  // one dword of each of 16 rows

// A panel block is a head, its float scales, and a body of vectors. Heads of less than 64 bytes
// are gathered: a run of 64 / kHead blocks has its heads first, then its bodies, so that bodies
// lie on cache lines (measured on Zen 4, Q6_K: 1.3 to 1.5 times the speed of unaligned bodies).
template <class Byte>
struct PanelBlockOf {
  Byte *head, *body;
};
using PanelBlock = PanelBlockOf<uint8_t>;
using ConstPanelBlock = PanelBlockOf<const uint8_t>;

// Block `index` of the `blocks` of a panel.
template <class Codec, class Byte>
ZS_INLINE PanelBlockOf<Byte> panel_block(Byte* panel, size_t index, size_t blocks) {
  constexpr size_t kBytes = kPanelRows * sizeof(typename Codec::Block);
  constexpr size_t kHead = Codec::kHead, kRun = kHead == 0 ? 1 : kVectorBytes / kHead;
  const size_t first = index / kRun * kRun, i = index - first;
  const size_t run = blocks - first < kRun ? blocks - first : kRun;
  Byte* start = panel + first * kBytes;
  return {start + i * kHead, start + run * kHead + i * (kBytes - kHead)};
}

ZS_INLINE uint32_t load32(const void* from) {
  uint32_t value;
  std::memcpy(&value, from, 4);
  return value;
}

// Writes `count` dwords of one row to its lane in `count` consecutive vectors.
ZS_INLINE void put_dwords(uint8_t* vectors, int row, const void* from, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    std::memcpy(vectors + i * kVectorBytes + 4 * static_cast<size_t>(row),
                static_cast<const uint8_t*>(from) + 4 * i, 4);
  }
}
ZS_INLINE void put_dword(uint8_t* vector, int row, uint32_t value) {
  put_dwords(vector, row, &value, 1);
}
ZS_INLINE void put_half(uint8_t* halves, int row, uint16_t value) {
  std::memcpy(halves + 2 * row, &value, 2);
}

// Exchanges the two middle bytes: groups 0, 1, 2, 3 to the order of byte_of_group.
ZS_INLINE uint32_t interleave_groups(uint32_t bytes) {
  return (bytes & 0xff0000ffu) | (bytes & 0xff00u) << 8 | (bytes >> 8 & 0xff00u);
}

template <class V>
ZS_INLINE typename V::F load_halves(const uint8_t* halves) {
  return V::load_f16(reinterpret_cast<const uint16_t*>(halves));
}
template <class V>
ZS_INLINE typename V::I vector_at(const uint8_t* vectors, int i) {
  return V::iload(vectors + static_cast<size_t>(i) * kVectorBytes);
}

// The bits of `mask` in each byte, after moving bit `from` to bit `to`. Bits that a 32-bit
// shift carries over from a neighbouring byte must lie outside the mask.
template <class V, int from, int to>
ZS_INLINE typename V::I move_bits(typename V::I bytes, uint8_t mask) {
  const int32_t mask4 = static_cast<int32_t>(mask * 0x01010101u);
  if constexpr (from < to) return V::iand(V::ishl(bytes, to - from), mask4);
  if constexpr (from > to) return V::iand(V::ishr(bytes, from - to), mask4);
  return V::iand(bytes, mask4);
}

template <class Codec>
ZS_INLINE const typename Codec::Block& block_at(const uint8_t* row, size_t b) {
  return *reinterpret_cast<const typename Codec::Block*>(row + b * sizeof(typename Codec::Block));
}

template <class Codec>
void decode_blocks(const uint8_t* source, float* out, size_t blocks) {
  for (size_t b = 0; b < blocks; ++b) {
    Codec::decode(block_at<Codec>(source, b), out + b * Codec::kBlockValues);
  }
}

// While one panel is packed, the lines of the next are fetched, both those it comes from and those
// it goes to; behind the last one that does nothing. 16 rows are more streams than a processor
// follows by itself: from memory to memory it is 1.7 times as fast so (docs/adr/0003).
template <class Codec>
void pack_blocks(const uint8_t* source, size_t row_stride, int rows, size_t blocks,
                 uint8_t* panel) {
  constexpr int kWrite = 1;
  constexpr size_t kBlock = sizeof(typename Codec::Block), kPanelBlock = kPanelRows * kBlock;
  constexpr size_t kRun = (kVectorBytes + kBlock - 1) / kBlock;
  if (rows < kPanelRows) std::memset(panel, 0, blocks * kPanelBlock);
  for (size_t begin = 0; begin < blocks; begin += kRun) {
    const size_t count = begin + kRun < blocks ? kRun : blocks - begin;
    for (size_t i = 0; i < count * kPanelBlock; i += kVectorBytes) {
      __builtin_prefetch(panel + (blocks + begin) * kPanelBlock + i, kWrite);
    }
    for (int row = 0; row < rows; ++row) {
      const uint8_t* from = source + static_cast<size_t>(row) * row_stride + begin * kBlock;
      for (size_t i = 0; i < count * kBlock; i += kVectorBytes) {
        __builtin_prefetch(from + kPanelRows * row_stride + i);
      }
      for (size_t b = 0; b < count; ++b) {
        Codec::pack(block_at<Codec>(from, b), panel_block<Codec>(panel, begin + b, blocks), row);
      }
    }
  }
}

}  // namespace
}  // namespace zs::quant
