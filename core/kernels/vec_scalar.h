// The vector class in plain C++: the reference for every instruction set, and the only one on
// machines without x86 vectors.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/vec.h"
#include "quant/half.h"

namespace zs::kernels {
namespace {

static_assert(std::endian::native == std::endian::little, "lanes hold bytes in memory order");

// Operations are calls: inlined into unrolled kernels, loops of 16 lanes would take minutes to
// compile, and the reference need not be fast.
#define ZS_CALL __attribute__((noinline))

struct ScalarVec {
  static constexpr bool kWide = false;
  static constexpr int kDirectTokens = 1;
  static constexpr size_t kDirectLimit = 1;
  static constexpr int kTilePanels = 1, kTileTokens = 2;
  static constexpr bool kSignedBytes = false;
  static constexpr bool kPrefetchPages = false;
  static constexpr bool kPrefetchParts = false;
  static constexpr size_t kFarAhead = 0;
  static constexpr bool kPairs = false;

  struct F {
    float v[16];
  };
  struct I {
    int32_t v[16];
  };

  template <class Fn>
  ZS_INLINE static F each(Fn&& fn) {
    F r;
    for (int i = 0; i < 16; ++i) r.v[i] = fn(i);
    return r;
  }
  template <class Fn>
  ZS_INLINE static I ieach(Fn&& fn) {
    I r;
    for (int i = 0; i < 16; ++i) r.v[i] = static_cast<int32_t>(fn(i));
    return r;
  }
  template <class Fn>
  ZS_INLINE static I beach(const I& a, Fn&& fn) {
    uint8_t bytes[64];
    std::memcpy(bytes, a.v, 64);
    for (int i = 0; i < 64; ++i) bytes[i] = fn(bytes[i]);
    return iload(bytes);
  }

  // --- floats ---------------------------------------------------------------------------
  ZS_CALL static F zero() { return set1(0.0f); }
  ZS_CALL static F set1(float x) {
    return each([&](int) { return x; });
  }
  ZS_CALL static F load(const float* p) {
    return each([&](int i) { return p[i]; });
  }
  ZS_CALL static void store(float* p, const F& a) { std::memcpy(p, a.v, 64); }
  ZS_CALL static F load_n(const float* p, int n) {
    return each([&](int i) { return i < n ? p[i] : 0.0f; });
  }
  ZS_CALL static void store_n(float* p, const F& a, int n) {
    for (int i = 0; i < n; ++i) p[i] = a.v[i];
  }
  ZS_CALL static F load_f16(const uint16_t* p) {
    return each([&](int i) { return quant::half_to_float(p[i]); });
  }
  ZS_CALL static F load_bf16(const uint16_t* p) {
    return each([&](int i) { return std::bit_cast<float>(uint32_t{p[i]} << 16); });
  }
  ZS_CALL static void store_f16(uint16_t* p, const F& a) {
    for (int i = 0; i < 16; ++i) p[i] = quant::float_to_half(a.v[i]);
  }
  ZS_CALL static F add(const F& a, const F& b) {
    return each([&](int i) { return a.v[i] + b.v[i]; });
  }
  ZS_CALL static F sub(const F& a, const F& b) {
    return each([&](int i) { return a.v[i] - b.v[i]; });
  }
  ZS_CALL static F mul(const F& a, const F& b) {
    return each([&](int i) { return a.v[i] * b.v[i]; });
  }
  ZS_CALL static F div(const F& a, const F& b) {
    return each([&](int i) { return a.v[i] / b.v[i]; });
  }
  ZS_CALL static F max(const F& a, const F& b) {
    return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  ZS_CALL static F min(const F& a, const F& b) {
    return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
  }
  ZS_CALL static F select_lt(const F& a, const F& b, const F& x, const F& y) {
    return each([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
  }
  ZS_CALL static F sqrt(const F& a) {
    return each([&](int i) { return std::sqrt(a.v[i]); });
  }
  ZS_CALL static F abs(const F& a) {
    return each([&](int i) { return std::fabs(a.v[i]); });
  }
  ZS_CALL static F fma(const F& a, const F& b, const F& c) {
    return each([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
  }
  ZS_CALL static F fnma(const F& a, const F& b, const F& c) {
    return each([&](int i) { return std::fma(-a.v[i], b.v[i], c.v[i]); });
  }
  ZS_CALL static F from_int(const I& a) {
    return each([&](int i) { return static_cast<float>(a.v[i]); });
  }
  ZS_CALL static I round_int(const F& a) {
    return ieach([&](int i) { return std::lrint(a.v[i]); });
  }
  ZS_CALL static F round(const F& a) {
    return each([&](int i) { return std::nearbyint(a.v[i]); });
  }
  ZS_CALL static F pow2(const F& n) {
    return bits_to_float(ishl(iadd(round_int(n), iset1(127)), 23));
  }
  ZS_CALL static float sum(const F& a) {
    float s[16];
    store(s, a);
    for (int width = 8; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) s[i] += s[i + width];
    }
    return s[0];
  }
  ZS_CALL static float max_of(const F& a) {
    float s[16];
    store(s, a);
    for (int width = 8; width > 0; width /= 2) {
      for (int i = 0; i < width; ++i) s[i] = s[i] > s[i + width] ? s[i] : s[i + width];
    }
    return s[0];
  }

  // --- int32 ----------------------------------------------------------------------------
  ZS_CALL static I izero() { return iset1(0); }
  ZS_CALL static I iset1(int32_t x) {
    return ieach([&](int) { return x; });
  }
  ZS_CALL static I iload(const void* p) {
    I r;
    std::memcpy(r.v, p, 64);
    return r;
  }
  ZS_CALL static void istore(void* p, const I& a) { std::memcpy(p, a.v, 64); }
  ZS_CALL static I iload_u16(const uint16_t* p) {
    return ieach([&](int i) { return p[i]; });
  }
  ZS_CALL static I iload_u8(const uint8_t* p) {
    return ieach([&](int i) { return p[i]; });
  }
  ZS_CALL static I iadd(const I& a, const I& b) {
    return ieach([&](int i) { return uint32_t(a.v[i]) + uint32_t(b.v[i]); });
  }
  ZS_CALL static I isub(const I& a, const I& b) {
    return ieach([&](int i) { return uint32_t(a.v[i]) - uint32_t(b.v[i]); });
  }
  ZS_CALL static I imul(const I& a, const I& b) {
    return ieach([&](int i) { return uint32_t(a.v[i]) * uint32_t(b.v[i]); });
  }
  ZS_CALL static I ior(const I& a, const I& b) {
    return ieach([&](int i) { return a.v[i] | b.v[i]; });
  }
  ZS_CALL static I imax(const I& a, const I& b) {
    return ieach([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  ZS_CALL static I iand(const I& a, int32_t mask) {
    return ieach([&](int i) { return a.v[i] & mask; });
  }
  ZS_CALL static I ishl(const I& a, int n) {
    return ieach([&](int i) { return uint32_t(a.v[i]) << n; });
  }
  ZS_CALL static I ishr(const I& a, int n) {
    return ieach([&](int i) { return uint32_t(a.v[i]) >> n; });
  }
  ZS_CALL static F bits_to_float(const I& a) {
    return each([&](int i) { return std::bit_cast<float>(a.v[i]); });
  }
  ZS_CALL static I float_to_bits(const F& a) {
    return ieach([&](int i) { return std::bit_cast<int32_t>(a.v[i]); });
  }
  ZS_CALL static int32_t isum(const I& a) {
    int32_t s = 0;
    for (int i = 0; i < 16; ++i) s += a.v[i];
    return s;
  }
  ZS_CALL static int32_t imax_of(const I& a) {
    int32_t s = a.v[0];
    for (int i = 1; i < 16; ++i) s = s > a.v[i] ? s : a.v[i];
    return s;
  }
  ZS_CALL static void store_i8(int8_t* p, const I& a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(a.v[i]);
  }

  // --- bytes ----------------------------------------------------------------------------
  ZS_CALL static I lookup16(const I& index, const uint8_t* table) {
    return beach(index, [&](uint8_t b) { return table[b]; });
  }
  ZS_CALL static I bsub(const I& a, uint8_t n) {
    return beach(a, [&](uint8_t b) { return uint8_t(b - n); });
  }
  ZS_CALL static I signed_bytes(const I& a) {
    return beach(a, [&](uint8_t b) { return uint8_t(b ^ 0x80); });
  }
  ZS_CALL static I even_u8(const I& a) { return iand(a, 0x00ff00ff); }
  ZS_CALL static I odd_u8(const I& a) { return iand(ishr(a, 8), 0x00ff00ff); }
  ZS_CALL static I even_s8(const I& a) {
    return ieach([&](int i) { return pair(int8_t(a.v[i]), int8_t(a.v[i] >> 16)); });
  }
  ZS_CALL static I odd_s8(const I& a) {
    return ieach([&](int i) { return pair(int8_t(a.v[i] >> 8), int8_t(a.v[i] >> 24)); });
  }
  ZS_CALL static I twice16(const I& a) {
    return ieach([&](int i) { return pair(int16_t(a.v[i]), int16_t(a.v[i])); });
  }
  ZS_CALL static I mul16(const I& a, const I& b) {
    return each16(a, b, [](int x, int y) { return x * y; });
  }
  ZS_CALL static I sub16(const I& a, const I& b) {
    return each16(a, b, [](int x, int y) { return x - y; });
  }
  ZS_CALL static I low_bytes(const I& even, const I& odd) {
    return ieach([&](int i) {
      return (even.v[i] & 0x00ff00ff) | int32_t(uint32_t(odd.v[i] & 0x00ff00ff) << 8);
    });
  }
  ZS_CALL static I high_bytes(const I& even, const I& odd) {
    return ieach([&](int i) {
      return int32_t(uint32_t(even.v[i]) >> 8 & 0x00ff00ff) |
             int32_t(uint32_t(odd.v[i]) & 0xff00ff00);
    });
  }

  // --- integer products -----------------------------------------------------------------
  ZS_CALL static I dot_pairs(const I& acc, const I& pairs, const I& x) {
    return ieach([&](int i) {
      return acc.v[i] + int16_t(pairs.v[i]) * int16_t(x.v[i]) +
             int16_t(pairs.v[i] >> 16) * int16_t(x.v[i] >> 16);
    });
  }
  template <int Max, int Index, int Count>
  ZS_CALL static void dot(I& total, I& part, const I& u, const I& x) {
    total = dot4(total, u, x);
  }
  template <int Max, int Index, int Count>
  ZS_CALL static void scaled_dot(I& total, I& part, const I& u, const I& x, const I& scale) {
    part = dot4(Index == 0 ? izero() : part, u, x);
    if (Index == Count - 1) total = iadd(total, imul(part, scale));
  }
  ZS_CALL static void wide_dot(I& high, I& low, const I& u, const I& xh, const I& xl) {
    high = dot4(high, u, xh);
    low = dot4(low, u, xl);
  }
  ZS_CALL static I wide_sum(const I& high, const I& low) { return iadd(ishl(high, 7), low); }
  ZS_CALL static I scale_u8(const I& bytes, int i) { return iand(ishr(bytes, 8 * i), 0xff); }
  ZS_CALL static I scale_s8(const I& bytes, int i) {
    return ieach([&](int lane) { return int8_t(bytes.v[lane] >> (8 * i)); });
  }

 private:
  template <class Fn>
  ZS_INLINE static I each16(const I& a, const I& b, Fn&& fn) {
    return ieach([&](int i) {
      return pair(int16_t(fn(int16_t(a.v[i]), int16_t(b.v[i]))),
                  int16_t(fn(int16_t(a.v[i] >> 16), int16_t(b.v[i] >> 16))));
    });
  }
  ZS_INLINE static int32_t pair(int16_t low, int16_t high) {
    return int32_t(uint32_t(uint16_t(low)) | uint32_t(uint16_t(high)) << 16);
  }
  [[gnu::noinline]] static I dot4(const I& acc, const I& u, const I& x) {
    return ieach([&](int i) {
      int32_t s = acc.v[i];
      for (int b = 0; b < 32; b += 8) {
        s += int32_t(uint8_t(u.v[i] >> b)) * int8_t(x.v[i] >> b);
      }
      return s;
    });
  }
};

}  // namespace
}  // namespace zs::kernels
