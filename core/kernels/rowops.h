// Operations on rows of floats, once for all ISAs: 16 lanes, four accumulators in a fixed
// rotation, one reduction tree, so the bits do not depend on the vector width of the machine.
#pragma once

#include <cmath>
#include <cstddef>

#include "kernels/exp.h"
#include "kernels/table.h"

namespace zs::kernels {
namespace {

template <class V>
struct RowOps {
  using F = typename V::F;

  // y[i] = f(x[i] as a vector) over n values; the tail reads zeros and stores only what exists.
  template <class Fn>
  static inline void map(const float* x, float* y, size_t n, Fn&& f) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) V::store(y + i, f(V::load(x + i)));
    if (i < n) V::store_n(y + i, f(V::load_n(x + i, int(n - i))), int(n - i));
  }

  template <class Fn>
  static inline void map2(const float* a, const float* b, float* y, size_t n, Fn&& f) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) V::store(y + i, f(V::load(a + i), V::load(b + i)));
    const int rest = int(n - i);
    if (rest) V::store_n(y + i, f(V::load_n(a + i, rest), V::load_n(b + i, rest)), rest);
  }

  // Sum over n values of step(accumulator, x); zeros of the tail must add nothing.
  template <class Fn>
  static inline float reduce(const float* x, size_t n, Fn&& step) {
    F acc[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
      for (int j = 0; j < 4; ++j) acc[j] = step(acc[j], V::load(x + i + 16 * j));
    }
    for (int j = 0; i < n; i += 16, ++j) {
      acc[j] = step(acc[j], i + 16 <= n ? V::load(x + i) : V::load_n(x + i, int(n - i)));
    }
    return V::sum(V::add(V::add(acc[0], acc[1]), V::add(acc[2], acc[3])));
  }

  static void rms_norm(const float* x, const float* w, float* y, size_t n, float eps) {
    const float square = reduce(x, n, [](F acc, F v) { return V::fma(v, v, acc); });
    const F inverse = V::set1(1.0f / std::sqrt(square / float(n) + eps));
    if (w) {
      map2(x, w, y, n, [&](F v, F g) { return V::mul(V::mul(v, inverse), g); });
    } else {
      map(x, y, n, [&](F v) { return V::mul(v, inverse); });
    }
  }

  static void layer_norm(const float* x, const float* w, const float* b, float* y, size_t n,
                         float eps) {
    const float mean = reduce(x, n, [](F acc, F v) { return V::add(acc, v); }) / float(n);
    const F center = V::set1(mean);
    map(x, y, n, [&](F v) { return V::sub(v, center); });
    const float square = reduce(y, n, [](F acc, F v) { return V::fma(v, v, acc); });
    const F inverse = V::set1(1.0f / std::sqrt(square / float(n) + eps));
    map(y, y, n, [&](F v) { return V::mul(v, inverse); });
    if (w) map2(y, w, y, n, [](F v, F g) { return V::mul(v, g); });
    if (b) map2(y, b, y, n, [](F v, F g) { return V::add(v, g); });
  }

  static void add(const float* a, const float* b, float* y, size_t n, float factor) {
    const F s = V::set1(factor);
    map2(a, b, y, n, [&](F u, F v) { return V::fma(v, s, u); });
  }

  template <class Fn>
  static inline void activate_with(const float* gate, const float* up, float* y, size_t n, Fn&& f) {
    if (up) {
      map2(gate, up, y, n, [&](F g, F u) { return V::mul(f(g), u); });
    } else {
      map(gate, y, n, f);
    }
  }

  static void activate(Activation kind, const float* gate, const float* up, float* y, size_t n) {
    const F half = V::set1(0.5f), one = V::set1(1.0f);
    switch (kind) {
      case Activation::Silu:
        activate_with(gate, up, y, n, [](F x) { return V::mul(x, vsigmoid<V>(x)); });
        break;
      case Activation::Gelu:  // x/2 * (1 + erf(x / sqrt 2))
        activate_with(gate, up, y, n, [&](F x) {
          const F e = verf<V>(V::mul(x, V::set1(0.70710678118654752f)));
          return V::mul(V::mul(x, half), V::add(one, e));
        });
        break;
      case Activation::GeluTanh:  // x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))
        activate_with(gate, up, y, n, [&](F x) {
          const F cube = V::fma(V::mul(V::mul(x, x), x), V::set1(0.044715f), x);
          const F t = vtanh<V>(V::mul(cube, V::set1(0.79788456080286536f)));
          return V::mul(V::mul(x, half), V::add(one, t));
        });
        break;
      case Activation::SwigluOai: swiglu_oai(gate, up, y, n); break;
    }
  }

  // gpt-oss (openai/gpt-oss, gpt_oss/torch/model.py): g * sigmoid(1.702 g) * (u + 1), where g is
  // min(gate, 7), and u is up within -7..7. Limits are the first operand, which lets NaN through.
  static void swiglu_oai(const float* gate, const float* up, float* y, size_t n) {
    const F limit = V::set1(7.0f), least = V::set1(-7.0f);
    const F alpha = V::set1(1.702f), one = V::set1(1.0f);
    const auto act = [&](F x) {
      const F g = V::min(limit, x);
      return V::mul(g, vsigmoid<V>(V::mul(g, alpha)));
    };
    if (!up) return map(gate, y, n, act);
    map2(gate, up, y, n,
         [&](F g, F u) { return V::mul(act(g), V::add(V::max(least, V::min(limit, u)), one)); });
  }

  static void sigmoid(const float* x, float* y, size_t n) {
    map(x, y, n, [](F v) { return vsigmoid<V>(v); });
  }

  static void scale(const float* x, float s, float* y, size_t n) {
    const F factor = V::set1(s);
    map(x, y, n, [&](F v) { return V::mul(v, factor); });
  }

  static void axpy(const float* x, float s, float* y, size_t n) {
    const F factor = V::set1(s);
    map2(x, y, y, n, [&](F v, F u) { return V::fma(v, factor, u); });
  }

  static float exp_sum(const float* x, float* y, size_t n) {
    if (n == 0) return 0;
    float top = x[0];
    size_t i = 0;
    if (n >= 16) {
      F most = V::load(x);
      for (i = 16; i + 16 <= n; i += 16) most = V::max(most, V::load(x + i));
      top = V::max_of(most);
    }
    for (; i < n; ++i) top = x[i] > top ? x[i] : top;
    const F shift = V::set1(top);
    map(x, y, n, [&](F v) { return vexp<V>(V::sub(v, shift)); });
    return reduce(y, n, [](F acc, F v) { return V::add(acc, v); });
  }

  static void softcap(const float* x, float cap, float* y, size_t n) {
    const F limit = V::set1(cap), inverse = V::set1(1.0f / cap);
    map(x, y, n, [&](F v) { return V::mul(vtanh<V>(V::mul(v, inverse)), limit); });
  }

  // Pairs (x[i], x[i + n_rot/2]) turn by table[i]; values past n_rot pass through.
  static void rope_neox(const float* x, const float* table, float* y, size_t head_dim,
                        size_t n_rot) {
    const size_t half = n_rot / 2;
    for (size_t i = 0; i < half; ++i) rotate(x[i], x[i + half], table + 2 * i, y[i], y[i + half]);
    for (size_t i = n_rot; i < head_dim; ++i) y[i] = x[i];
  }

  // Pairs (x[2i], x[2i + 1]).
  static void rope_normal(const float* x, const float* table, float* y, size_t head_dim,
                          size_t n_rot) {
    for (size_t i = 0; i < n_rot; i += 2) rotate(x[i], x[i + 1], table + i, y[i], y[i + 1]);
    for (size_t i = n_rot; i < head_dim; ++i) y[i] = x[i];
  }

 private:
  // Plain multiplies and one add each, left to the compiler to vectorise: with contraction off
  // every ISA rounds them alike.
  static inline void rotate(float a, float b, const float* turn, float& first, float& second) {
    first = a * turn[0] - b * turn[1];
    second = a * turn[1] + b * turn[0];
  }
};

}  // namespace
}  // namespace zs::kernels
