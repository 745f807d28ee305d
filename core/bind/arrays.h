// Array types that bindings take and return: contiguous, in main memory.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <initializer_list>

namespace zs::bind {

namespace nb = nanobind;

using ByteInput = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using FloatInput = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using FloatMatrixInput = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using IndexInput = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

using ByteVector = nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>;
using FloatVector = nb::ndarray<nb::numpy, float, nb::ndim<1>>;
using FloatMatrix = nb::ndarray<nb::numpy, float, nb::ndim<2>>;
using Int8Vector = nb::ndarray<nb::numpy, int8_t, nb::ndim<1>>;
using Int16Vector = nb::ndarray<nb::numpy, int16_t, nb::ndim<1>>;

// A new array of zeros that owns its memory.
template <class Array>
Array make_array(std::initializer_list<size_t> shape) {
  using Scalar = typename Array::Scalar;
  size_t size = 1;
  for (size_t n : shape) size *= n;
  Scalar* data = new Scalar[size == 0 ? 1 : size]();
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<Scalar*>(p); });
  return Array(data, shape, owner);
}

}  // namespace zs::bind
