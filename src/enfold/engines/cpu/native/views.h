// Arrays of Python as the pointers and shapes that attending.h works on. What says where things are is copied: an array
// could be written to after the check.
#pragma once

#include "attending.h"
#include "bindings.h"

using Bias = Strict<nb::ndarray<const float, nb::numpy, nb::ndim<4>, nb::device::cpu>>;

template <typename T>
Lines lines_of(const Rows<T>& rows) {
  return {const_cast<float*>(rows.data()), static_cast<int64_t>(rows.shape(0)), static_cast<int64_t>(rows.shape(1)),
          stride_of(rows)};
}

// The same of an array without gaps.
template <typename A>
Lines whole_lines_of(const A& rows) {
  const int64_t width = rows.shape(1);
  return {const_cast<float*>(rows.data()), static_cast<int64_t>(rows.shape(0)), width, width};
}

inline Integers integers_of(const Places& places) { return {places.data(), places.data() + places.shape(0)}; }

// `A` is an array that may be written to, or not, of floats (rows, kv_heads, capacity, size).
template <typename A>
KeyStore store_of(const A& keys, const A& values) {
  for (int i = 0; i < 4; i++) expect(keys.shape(i) == values.shape(i), "keys and values must be of one shape");
  return {const_cast<float*>(keys.data()),         const_cast<float*>(values.data()),
          static_cast<int64_t>(keys.shape(0)),     static_cast<int64_t>(keys.shape(1)),
          static_cast<int64_t>(keys.shape(2)),     static_cast<int64_t>(keys.shape(3))};
}

inline BiasLines bias_of(const std::optional<Bias>& bias) {
  if (!bias) return {};
  expect(bias->shape(3) < 2 || bias->stride(3) == 1, "numbers of the bias must be next to each other");
  return {bias->data(),
          static_cast<int64_t>(bias->shape(0)),
          static_cast<int64_t>(bias->shape(1)),
          static_cast<int64_t>(bias->shape(2)),
          static_cast<int64_t>(bias->shape(3)),
          bias->stride(0),
          bias->stride(1),
          bias->stride(2)};
}
