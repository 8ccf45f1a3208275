// Functions for Python that take arrays as they are. One of another type or layout is refused and never converted, since
// a converted output would be a copy that nobody sees; so is one whose numbers are not aligned.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace strict {

namespace nb = nanobind;

// The arrays in an argument, however they are wrapped.
template <typename T>
struct Arrays {
  static constexpr bool any = false;
  static void check(const T&) {}
};

template <typename... Ts>
struct Arrays<nb::ndarray<Ts...>> {
  using Array = nb::ndarray<Ts...>;
  static constexpr bool any = true;
  static void check(const Array& array) {
    if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(typename Array::Scalar))
      throw std::invalid_argument("arrays must be aligned to the size of their numbers");
  }
};

template <typename T>
struct Arrays<std::optional<T>> {
  static constexpr bool any = Arrays<T>::any;
  static void check(const std::optional<T>& given) {
    if (given) Arrays<T>::check(*given);
  }
};

template <typename T>
struct Arrays<std::vector<T>> {
  static constexpr bool any = Arrays<T>::any;
  static void check(const std::vector<T>& given) {
    for (const T& each : given) Arrays<T>::check(each);
  }
};

template <typename... Ts>
struct Arrays<std::tuple<Ts...>> {
  static constexpr bool any = (Arrays<Ts>::any || ...);
  static void check(const std::tuple<Ts...>& given) {
    std::apply([](const Ts&... each) { (Arrays<Ts>::check(each), ...); }, given);
  }
};

template <typename T>
inline constexpr bool is_optional = false;
template <typename T>
inline constexpr bool is_optional<std::optional<T>> = true;

// Numbers are converted as Python does it: a whole number may stand for a float.
template <typename T>
auto argument() {
  using Given = std::decay_t<T>;
  if constexpr (Arrays<Given>::any && is_optional<Given>) return nb::arg().noconvert().none();
  else if constexpr (Arrays<Given>::any) return nb::arg().noconvert();
  else return nb::arg();
}

template <typename Result, typename... Args>
void define(nb::module_& module, const char* name, Result (*function)(Args...)) {
  module.def(name, [function](Args... args) -> Result {
    (Arrays<std::decay_t<Args>>::check(args), ...);
    return function(std::forward<Args>(args)...);
  }, argument<Args>()...);
}

// A class whose objects `make` makes of what Python gives.
template <typename Class, typename... Args>
void define_class(nb::module_& module, const char* name, Class (*make)(Args...)) {
  nb::class_<Class>(module, name).def("__init__", [make](Class* self, Args... args) {
    (Arrays<std::decay_t<Args>>::check(args), ...);
    new (self) Class(make(std::forward<Args>(args)...));
  }, argument<Args>()...);
}

}  // namespace strict
