// What the bindings share: the arrays that they take, and the checks of every matrix product.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "kernels.h"
#include "strict.h"

namespace nb = nanobind;

void bind_attention(nb::module_& module);
void bind_blocks(nb::module_& module);
void bind_program(nb::module_& module);

template <typename T, int Dims>
using Array = Strict<nb::ndarray<const T, nb::numpy, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>>;
template <typename T, int Dims>
using Out = Strict<nb::ndarray<T, nb::numpy, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>>;

using Vector = Array<float, 1>;
using Matrix = Array<float, 2>;
using OutMatrix = Out<float, 2>;

inline void expect(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

// Of numbers that Python gives: a product that overflows could pass for the right one.
inline int64_t times(int64_t a, int64_t b) {
  int64_t product;
  expect(!__builtin_mul_overflow(a, b, &product), "numbers are too large");
  return product;
}

template <typename A, typename B>
bool overlap(const A& a, const B& b) {
  const char *first = reinterpret_cast<const char*>(a.data()), *second = reinterpret_cast<const char*>(b.data());
  return first < second + b.nbytes() && second < first + a.nbytes();
}

// Rows of an array whose numbers are next to each other, rows any distance apart.
template <typename T>
using Rows = Strict<nb::ndarray<T, nb::numpy, nb::ndim<2>, nb::device::cpu>>;
using Places = Array<int64_t, 1>;

template <typename T>
inline int64_t stride_of(const Rows<T>& rows) {
  if (rows.size() == 0) return static_cast<int64_t>(rows.shape(1));
  expect(rows.shape(1) < 2 || rows.stride(1) == 1, "numbers of a row must be next to each other");
  expect(rows.shape(0) < 2 || rows.stride(0) >= static_cast<int64_t>(rows.shape(1)), "rows must not overlap");
  return rows.shape(0) < 2 ? static_cast<int64_t>(rows.shape(1)) : rows.stride(0);
}

inline Finish finish_of(const std::optional<Vector>& bias, int activation, const std::optional<Matrix>& gate,
                        Rows<float>& out, const Matrix& x, int64_t n) {
  expect(out.shape(0) == x.shape(0) && static_cast<int64_t>(out.shape(1)) == n, "out must be (M, N)");
  const int64_t stride = stride_of(out);
  expect(!gate || stride == n || out.shape(0) < 2, "with a gate out must be contiguous");
  expect(!bias || static_cast<int64_t>(bias->shape(0)) == n, "bias must be (N,)");
  expect(!gate || (gate->shape(0) == out.shape(0) && gate->shape(1) == out.shape(1)), "gate must be (M, N)");
  expect(activation >= 0 && activation <= static_cast<int>(Activation::tanh), "unknown activation");
  expect(!overlap(x, out), "x and out overlap");
  return {bias ? bias->data() : nullptr, static_cast<Activation>(activation), gate ? gate->data() : nullptr, out.data(),
          stride};
}

// A matrix of bytes and the arrays that it is made of.
struct Bytes {
  Array<int8_t, 5> panels;
  Vector scale;
  Array<int32_t, 1> sum;
  std::vector<int32_t> places;  // a copy: an array could be written to after the check
  Matrix apart;
  int64_t columns;

  ByteMatrix view() const {
    return {static_cast<int64_t>(scale.shape(0)), columns,       panels.data(), scale.data(), sum.data(),
            static_cast<int64_t>(places.size()), places.data(), apart.data()};
  }
};

// A matrix in blocks and the array that it lies in.
struct Blocks {
  Array<uint8_t, 3> panels;
  BlockMatrix matrix;
};
