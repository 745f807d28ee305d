// Scales are fitted group by group: rounding to the nearest values of a first guess, then the scale
// of least squares for what they were rounded to (Lloyd's algorithm), from several first guesses.
#include "quant/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q8_0.h"

namespace zs::quant {
namespace {

constexpr int kSuperGroup = 16;     // values of a group of Q2_K and Q3_K
constexpr int kSuperGroups = 16;    // groups of a block
constexpr float kMostHalf = 65504;  // the largest float16
// First guesses: the range of the values, or so much of it that a few large ones are cut off.
constexpr float kShrink[] = {1.0f, 0.9f, 0.8f, 0.7f, 0.6f};
constexpr int kRounds = 2;

// Four values at a time: compilers do not find vectors here by themselves, because an order of
// additions and what a comparison with no number says are to be kept.
typedef float Quad __attribute__((vector_size(16)));
constexpr int kQuads = kSuperGroup / 4;

struct Group {
  Quad v[kQuads];

  explicit Group(const float* x) { std::memcpy(v, x, sizeof(v)); }
  template <class Fn>
  float sum(Fn&& fn) const {
    Quad total{};
    for (int i = 0; i < kQuads; ++i) total += fn(i);
    return (total[0] + total[1]) + (total[2] + total[3]);
  }
};

// The nearest whole numbers from `least` to `most`, ties to even. A quotient of values near the
// ends of float may be infinite or none.
template <class T>
T nearest(T value, float least, float most) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: floats of this size have no fraction
  const T low = T{} + least, high = T{} + most;
  value = value > low ? value : low;
  value = value < high ? value : high;
  return value + kShift - kShift;
}

uint16_t scale_half(float value) {
  return float_to_half(std::clamp(value, -kMostHalf, kMostHalf));
}

// With the scale of the value farthest from 0, which becomes -8: there are more values below 0 than
// above. Has the bits of the gguf package.
void encode_q4_0(const float* x, Q4_0::Block& block) {
  constexpr int kHalf = Q4_0::kBlockValues / 2;
  float farthest = 0;
  for (int i = 0; i < Q4_0::kBlockValues; ++i) {
    if (std::abs(x[i]) > std::abs(farthest)) farthest = x[i];
  }
  const float d = farthest / -8.0f, inverse = d == 0 ? 0 : 1.0f / d;
  block.d = scale_half(d);
  const auto code = [&](float value) {
    const float q = std::max(0.0f, value * inverse + 8.5f);  // 0 if there is no such product
    return static_cast<uint8_t>(std::min(q, 15.0f));
  };
  for (int i = 0; i < kHalf; ++i) {
    block.qs[i] = static_cast<uint8_t>(code(x[i]) | code(x[i + kHalf]) << 4);
  }
}

// value = scale * q - minimum, q from 0 to 3.
struct Affine {
  float scale = 0, minimum = 0;

  template <class T>
  T code(T value) const {
    return scale > 0 ? nearest((value + minimum) / scale, 0, Q2_K::kMax) : T{};
  }
  float error(const Group& x) const {
    return x.sum([&](int i) {
      const Quad off = scale * code(x.v[i]) - minimum - x.v[i];
      return off * off;
    });
  }
};

// The best for the codes that `start` gives; a minimum may not be below 0.
Affine refined(const Affine& start, const Group& x) {
  Quad q[kQuads];
  for (int i = 0; i < kQuads; ++i) q[i] = start.code(x.v[i]);
  const float q1 = x.sum([&](int i) { return q[i]; });
  const float q2 = x.sum([&](int i) { return q[i] * q[i]; });
  const float x1 = x.sum([&](int i) { return x.v[i]; });
  const float qx = x.sum([&](int i) { return q[i] * x.v[i]; });
  const float n = kSuperGroup, determinant = n * q2 - q1 * q1;
  if (!(determinant > 0)) return start;
  Affine fit;
  fit.scale = (n * qx - q1 * x1) / determinant;
  fit.minimum = (fit.scale * q1 - x1) / n;
  if (fit.minimum < 0) fit = {qx / q2, 0};
  return fit.scale > 0 ? fit : start;
}

Affine fit_affine(const float* values) {
  const Group x(values);
  const auto [least, most] = std::minmax_element(values, values + kSuperGroup);
  const float low = std::min(0.0f, *least), width = *most - low;
  Affine best{width > 0 ? width / Q2_K::kMax : 0, -low};
  float lowest = best.error(x);
  for (const float shrink : kShrink) {
    Affine fit{width * shrink / Q2_K::kMax, std::max(0.0f, -low - width * (1 - shrink) / 2)};
    for (int round = 0; round < kRounds && fit.scale > 0; ++round) {
      fit = refined(fit, x);
      if (const float error = fit.error(x); error < lowest) {
        best = fit;
        lowest = error;
      }
    }
  }
  return best;
}

void encode_q2_k(const float* x, Q2_K::Block& block) {
  Affine fits[kSuperGroups];
  float scale = 0, minimum = 0;
  for (int g = 0; g < kSuperGroups; ++g) {
    fits[g] = fit_affine(x + g * kSuperGroup);
    scale = std::max(scale, fits[g].scale);
    minimum = std::max(minimum, fits[g].minimum);
  }
  block.d = scale_half(scale / Q2_K::kScaleLimit);
  block.dmin = scale_half(minimum / Q2_K::kMinimumLimit);
  const float d = half_to_float(block.d), dmin = half_to_float(block.dmin);
  std::memset(block.qs, 0, sizeof(block.qs));
  for (int g = 0; g < kSuperGroups; ++g) {
    const float s = d > 0 ? nearest(fits[g].scale / d, 0, Q2_K::kScaleLimit) : 0;
    const float m = dmin > 0 ? nearest(fits[g].minimum / dmin, 0, Q2_K::kMinimumLimit) : 0;
    block.scales[g] = static_cast<uint8_t>(static_cast<int>(s) | static_cast<int>(m) << 4);
    const Affine stored{d * s, dmin * m};
    for (int k = g * kSuperGroup; k < (g + 1) * kSuperGroup; ++k) {
      block.qs[32 * (k / 128) + k % 32] |=
          static_cast<uint8_t>(static_cast<int>(stored.code(x[k])) << 2 * (k / 32 % 4));
    }
  }
}

// value = scale * q, q from -4 to 3; scales have a sign.
template <class T>
T code_q3(T value, float scale) {
  return scale == 0 ? T{} : nearest(value / scale, -Q3_K::kOffset, Q3_K::kMax - Q3_K::kOffset);
}

float fit_q3(const float* values) {
  const Group x(values);
  float farthest = 0, best = 0;
  for (int i = 0; i < kSuperGroup; ++i) {
    if (std::abs(values[i]) > std::abs(farthest)) farthest = values[i];
  }
  float lowest = x.sum([&](int i) { return x.v[i] * x.v[i]; });
  for (const float shrink : kShrink) {
    for (const float end : {-4.0f, 3.0f}) {
      float scale = farthest * shrink / end;
      for (int round = 0; round < kRounds && scale != 0; ++round) {
        Quad q[kQuads];
        for (int i = 0; i < kQuads; ++i) q[i] = code_q3(x.v[i], scale);
        const float qq = x.sum([&](int i) { return q[i] * q[i]; });
        scale = qq > 0 ? x.sum([&](int i) { return q[i] * x.v[i]; }) / qq : 0;
        const float error = x.sum([&](int i) {
          const Quad off = scale * code_q3(x.v[i], scale) - x.v[i];
          return off * off;
        });
        if (error < lowest) {
          best = scale;
          lowest = error;
        }
      }
    }
  }
  return best;
}

void encode_q3_k(const float* x, Q3_K::Block& block) {
  constexpr int kBias = Q3_K::kScaleLimit;  // scales are stored plus this: -32 to 31
  float fits[kSuperGroups], farthest = 0;
  for (int g = 0; g < kSuperGroups; ++g) {
    fits[g] = fit_q3(x + g * kSuperGroup);
    if (std::abs(fits[g]) > std::abs(farthest)) farthest = fits[g];
  }
  std::memset(&block, 0, sizeof(block));
  block.d = scale_half(farthest / -static_cast<float>(kBias));
  const float d = half_to_float(block.d);
  for (int g = 0; g < kSuperGroups; ++g) {
    const float s = d == 0 ? 0 : nearest(fits[g] / d, -kBias, kBias - 1);
    const int stored = static_cast<int>(s) + kBias;
    block.scales[g % 8] |= static_cast<uint8_t>((stored & 15) << 4 * (g / 8));
    block.scales[8 + g % 4] |= static_cast<uint8_t>(stored >> 4 << 2 * (g / 4));
    for (int k = g * kSuperGroup; k < (g + 1) * kSuperGroup; ++k) {
      const int q = static_cast<int>(code_q3(x[k], d * s)) + Q3_K::kOffset;
      block.qs[32 * (k / 128) + k % 32] |= static_cast<uint8_t>((q & 3) << 2 * (k / 32 % 4));
      block.hmask[k % 32] |= static_cast<uint8_t>(q >> 2 << k / 32);
    }
  }
}

// Ties away from zero; has the bits of the gguf package.
void encode_q8_0(const float* x, Q8_0::Block& block) {
  constexpr float kMost = 127;
  float most = 0;
  for (int i = 0; i < Q8_0::kBlockValues; ++i) most = std::max(most, std::abs(x[i]));
  const float d = most / kMost;
  // Of values so small that this is infinite, float16 knows no scale but 0.
  const float inverse = d > 0 ? 1 / d : 0;
  block.d = scale_half(d);
  for (int i = 0; i < Q8_0::kBlockValues; ++i) {
    // Products that are no number become the lowest: not every caller looks for such values.
    float q = std::isfinite(inverse) ? std::round(x[i] * inverse) : 0;
    q = q > -kMost ? q : -kMost;
    block.qs[i] = static_cast<int8_t>(std::min(q, kMost));
  }
}

template <class Codec, void (*kEncode)(const float*, typename Codec::Block&)>
void encode_blocks(const float* values, uint8_t* out, size_t blocks) {
  for (size_t b = 0; b < blocks; ++b) {
    typename Codec::Block block;
    kEncode(values + b * Codec::kBlockValues, block);
    std::memcpy(out + b * sizeof(block), &block, sizeof(block));
  }
}

}  // namespace

Encode encoder(Format format) {
  switch (format) {
    case Format::Q2_K: return encode_blocks<Q2_K, encode_q2_k>;
    case Format::Q3_K: return encode_blocks<Q3_K, encode_q3_k>;
    case Format::Q4_0: return encode_blocks<Q4_0, encode_q4_0>;
    case Format::Q8_0: return encode_blocks<Q8_0, encode_q8_0>;
    default: return nullptr;
  }
}

}  // namespace zs::quant
