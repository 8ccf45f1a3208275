// Arrays of Python as the pointers and shapes that attending.h works on. What says where things are is copied: an array
// could be written to after the check.
#pragma once

#include <nanobind/stl/variant.h>

#include <variant>

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

// Keys or values of a cache (rows, kv_heads, capacity, width), of floats or of bytes.
using Stored = std::variant<Array<float, 4>, Array<int8_t, 4>>;
using OutStored = std::variant<Out<float, 4>, Out<int8_t, 4>>;

template <typename S>
KeyStore store_of(const S& keys, const S& values) {
  expect(keys.index() == values.index(), "keys and values must be of one type");
  return std::visit([](const auto& k, const auto& v) {
    for (int i = 0; i < 4; i++) expect(k.shape(i) == v.shape(i), "keys and values must be of one shape");
    const bool bytes = sizeof(k.data()[0]) == 1;
    const auto width = static_cast<int64_t>(k.shape(3));
    expect(!bytes || width > KEY_SCALE, "stored bytes must be a head's numbers and a scale");
    return KeyStore{const_cast<void*>(static_cast<const void*>(k.data())), const_cast<void*>(static_cast<const void*>(v.data())),
                    bytes, static_cast<int64_t>(k.shape(0)), static_cast<int64_t>(k.shape(1)),
                    static_cast<int64_t>(k.shape(2)), bytes ? width - KEY_SCALE : width, width};
  }, keys, values);
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
