// What Python sees. Every shape is checked here, so that kernels need not.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "kernels.h"
#include "pool.h"

namespace nb = nanobind;

namespace {

template <typename T, int Dims>
using Array = nb::ndarray<const T, nb::numpy, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
template <typename T, int Dims>
using Out = nb::ndarray<T, nb::numpy, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;

using Vector = Array<float, 1>;
using Matrix = Array<float, 2>;
using OutMatrix = Out<float, 2>;

void expect(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

template <typename A, typename B>
bool overlap(const A& a, const B& b) {
  const char *first = reinterpret_cast<const char*>(a.data()), *second = reinterpret_cast<const char*>(b.data());
  return first < second + b.nbytes() && second < first + a.nbytes();
}

Finish finish_of(const std::optional<Vector>& bias, int activation, const std::optional<Matrix>& gate, OutMatrix& out,
                 const Matrix& x, int64_t n) {
  expect(out.shape(0) == x.shape(0) && static_cast<int64_t>(out.shape(1)) == n, "out must be (M, N)");
  expect(!bias || static_cast<int64_t>(bias->shape(0)) == n, "bias must be (N,)");
  expect(!gate || (gate->shape(0) == out.shape(0) && gate->shape(1) == out.shape(1)), "gate must be (M, N)");
  expect(activation >= 0 && activation <= static_cast<int>(Activation::tanh), "unknown activation");
  expect(!overlap(x, out), "x and out overlap");
  return {bias ? bias->data() : nullptr, static_cast<Activation>(activation), gate ? gate->data() : nullptr, out.data(),
          static_cast<int64_t>(out.shape(1))};
}

void gemm_float(const Matrix& x, const Matrix& w, std::optional<Vector> bias, int activation, std::optional<Matrix> gate,
                OutMatrix out) {
  expect(x.shape(1) == w.shape(1), "x must be (M, K) and w (N, K)");
  const Finish finish = finish_of(bias, activation, gate, out, x, w.shape(0));
  nb::gil_scoped_release unlocked;
  kernels().gemm_float(x.data(), x.shape(0), x.shape(1), w.data(), w.shape(0), finish);
}

// A matrix of bytes and the arrays that it is made of.
struct Bytes {
  Array<int8_t, 4> panels;
  Vector scale;
  Array<int32_t, 1> sum;
  Array<int32_t, 1> places;
  Matrix apart;
  int64_t columns;

  ByteMatrix view() const {
    return {static_cast<int64_t>(scale.shape(0)), columns,       panels.data(), scale.data(), sum.data(),
            static_cast<int64_t>(places.shape(0)), places.data(), apart.data()};
  }
};

Bytes make_bytes(Array<int8_t, 4> panels, Vector scale, Array<int32_t, 1> sum, Array<int32_t, 1> places, Matrix apart,
                 int64_t columns) {
  const std::size_t rows = scale.shape(0);
  expect(columns >= 0 && panels.shape(0) == (rows + 15) / 16 && static_cast<int64_t>(panels.shape(1)) == (columns + 3) / 4 &&
             panels.shape(2) == 16 && panels.shape(3) == 4,
         "panels must be (ceil(N / 16), ceil(K / 4), 16, 4)");
  expect(sum.shape(0) == rows, "sum must be (N,)");
  expect(apart.shape(0) == places.shape(0) && (apart.shape(1) == rows || places.shape(0) == 0),
         "apart must be (outliers, N)");
  for (std::size_t i = 0; i < places.shape(0); i++)
    expect(places.data()[i] >= 0 && places.data()[i] < columns, "places must be columns of x");
  return {panels, scale, sum, places, apart, columns};
}

void gemm_bytes(const Matrix& x, const Bytes& w, std::optional<Vector> bias, int activation, std::optional<Matrix> gate,
                OutMatrix out) {
  const ByteMatrix matrix = w.view();
  expect(static_cast<int64_t>(x.shape(1)) == matrix.k, "x must be (M, K)");
  const Finish finish = finish_of(bias, activation, gate, out, x, matrix.n);
  nb::gil_scoped_release unlocked;
  kernels().gemm_bytes(x.data(), x.shape(0), matrix, finish);
}

}  // namespace

NB_MODULE(_native, module) {
  module.def("isa", [] { return std::string(kernels().name); });
  module.def("set_threads", &set_threads);
  module.def("threads", &threads);
  module.def("gemm_float", &gemm_float, nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg());
  nb::class_<Bytes>(module, "Bytes").def("__init__", [](Bytes* self, Array<int8_t, 4> panels, Vector scale,
                                                       Array<int32_t, 1> sum, Array<int32_t, 1> places, Matrix apart,
                                                       int64_t columns) {
    new (self) Bytes(make_bytes(panels, scale, sum, places, apart, columns));
  });
  module.def("gemm_bytes", &gemm_bytes, nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg().none(), nb::arg());
}
