// Arrays of Python, taken as they are. One of another type or layout is refused and never converted, since a converted
// output would be a copy that nobody sees; so are None and an array whose numbers are not aligned.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>

template <typename Array>
struct Strict : Array {
  using Array::Array;
  Strict() = default;
  explicit Strict(const Array& array) : Array(array) {}
};

namespace nanobind::detail {

template <typename Array>
struct type_caster<Strict<Array>> {
  NB_TYPE_CASTER(Strict<Array>, const_name("aligned ") + make_caster<Array>::Name)

  template <typename Flags>  // eight bits until nanobind 3
  bool from_python(handle source, Flags flags, cleanup_list* cleanup) noexcept {
    make_caster<Array> caster;
    if (source.is_none() || !caster.from_python(source, Flags(flags & ~Flags(cast_flags::convert)), cleanup)) return false;
    value = Strict<Array>(caster.value);
    return reinterpret_cast<std::uintptr_t>(value.data()) % alignof(typename Array::Scalar) == 0;
  }
};

}  // namespace nanobind::detail
