// exp, tanh and what follows from them, as one sequence of IEEE operations that every ISA
// repeats: the same bits everywhere (docs/adr/0001). Polynomials: Cephes Math Library
// (expf.c, tanhf.c), evaluated with fused multiply-adds; within 2 ulp of exp on its range.
#pragma once

#include <cmath>

namespace zs::kernels {
namespace {

// 0 below -87.3 (where the result would be subnormal), clamped at 88 above; exp(0) is exactly 1.
template <class V>
inline typename V::F vexp(typename V::F x) {
  using F = typename V::F;
  const F low = V::set1(-87.3f);
  const F in = V::min(V::max(x, low), V::set1(88.0f));
  const F n = V::round(V::mul(in, V::set1(1.44269504088896341f)));
  F r = V::fnma(n, V::set1(0.693359375f), in);
  r = V::fnma(n, V::set1(-2.12194440e-4f), r);
  F p = V::set1(1.9875691500e-4f);
  p = V::fma(p, r, V::set1(1.3981999507e-3f));
  p = V::fma(p, r, V::set1(8.3334519073e-3f));
  p = V::fma(p, r, V::set1(4.1665795894e-2f));
  p = V::fma(p, r, V::set1(1.6666665459e-1f));
  p = V::fma(p, r, V::set1(5.0000001201e-1f));
  p = V::fma(V::mul(r, r), p, V::add(r, V::set1(1.0f)));
  return V::select_lt(x, low, V::zero(), V::mul(p, V::pow2(n)));
}

template <class V>
inline typename V::F vsigmoid(typename V::F x) {
  const auto one = V::set1(1.0f);
  return V::div(one, V::add(one, vexp<V>(V::sub(V::zero(), x))));
}

template <class V>
inline typename V::F vtanh(typename V::F x) {
  using F = typename V::F;
  const F z = V::mul(x, x);
  F p = V::set1(-5.70498872745e-3f);
  p = V::fma(p, z, V::set1(2.06390887954e-2f));
  p = V::fma(p, z, V::set1(-5.37397155531e-2f));
  p = V::fma(p, z, V::set1(1.33314422036e-1f));
  p = V::fma(p, z, V::set1(-3.33332819422e-1f));
  const F near = V::fma(V::mul(p, z), x, x);
  // Away from zero: 1 - 2 / (exp(2|x|) + 1), with the sign put back.
  const F one = V::set1(1.0f);
  const F e = vexp<V>(V::mul(V::abs(x), V::set1(2.0f)));
  const F magnitude = V::sub(one, V::div(V::set1(2.0f), V::add(e, one)));
  const F far = V::select_lt(x, V::zero(), V::sub(V::zero(), magnitude), magnitude);
  return V::select_lt(V::abs(x), V::set1(0.625f), near, far);
}

// Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7.
template <class V>
inline typename V::F verf(typename V::F x) {
  using F = typename V::F;
  const F one = V::set1(1.0f);
  const F a = V::abs(x);
  const F t = V::div(one, V::fma(a, V::set1(0.3275911f), one));
  F p = V::set1(1.061405429f);
  p = V::fma(p, t, V::set1(-1.453152027f));
  p = V::fma(p, t, V::set1(1.421413741f));
  p = V::fma(p, t, V::set1(-0.284496736f));
  p = V::fma(p, t, V::set1(0.254829592f));
  const F e = vexp<V>(V::sub(V::zero(), V::mul(a, a)));
  const F y = V::fnma(V::mul(p, t), e, one);
  return V::select_lt(x, V::zero(), V::sub(V::zero(), y), y);
}

}  // namespace
}  // namespace zs::kernels
