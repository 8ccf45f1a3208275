// What Python sees. Every shape is checked here, so that kernels need not.

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "bindings.h"
#include "lent.h"
#include "pool.h"

namespace nb = nanobind;

namespace {

void gemm_float(const Matrix& x, const Matrix& w, std::optional<Vector> bias, int activation, std::optional<Matrix> gate,
                Rows<float> out) {
  expect(x.shape(1) == w.shape(1), "x must be (M, K) and w (N, K)");
  const Finish finish = finish_of(bias, activation, gate, out, x, w.shape(0));
  nb::gil_scoped_release unlocked;
  kernels().gemm_float(x.data(), x.shape(0), x.shape(1), w.data(), w.shape(0), finish);
}

Bytes make_bytes(Array<int8_t, 5> panels, Vector scale, Array<int32_t, 1> sum, Array<int32_t, 1> places, Matrix apart,
                 int64_t columns) {
  const std::size_t rows = scale.shape(0);
  expect(columns >= 0 && panels.shape(0) == (rows + 15) / 16 && panels.shape(2) == 4 && panels.shape(3) == 16 &&
             panels.shape(4) == 4 && static_cast<int64_t>(panels.shape(1)) == columns / 16 + (columns % 16 != 0),
         "panels must be (ceil(N / 16), ceil(K / 16), 4, 16, 4)");
  expect(sum.shape(0) == rows, "sum must be (N,)");
  expect(apart.shape(0) == places.shape(0) && (apart.shape(1) == rows || places.shape(0) == 0),
         "apart must be (outliers, N)");
  for (std::size_t i = 0; i < places.shape(0); i++)
    expect(places.data()[i] >= 0 && places.data()[i] < columns, "places must be columns of x");
  for (std::size_t i = 0; i < rows; i++) expect(std::isfinite(scale.data()[i]), "scales must be finite");
  return {panels, scale, sum, {places.data(), places.data() + places.shape(0)}, apart, columns};
}

void gemm_bytes(const Matrix& x, const Bytes& w, std::optional<Vector> bias, int activation, std::optional<Matrix> gate,
                Rows<float> out) {
  const ByteMatrix matrix = w.view();
  expect(static_cast<int64_t>(x.shape(1)) == matrix.k, "x must be (M, K)");
  const Finish finish = finish_of(bias, activation, gate, out, x, matrix.n);
  nb::gil_scoped_release unlocked;
  kernels().gemm_bytes(x.data(), x.shape(0), matrix, finish);
}

// An array (M, N) that nothing is written to yet.
nb::ndarray<nb::numpy, float, nb::ndim<2>> take(int64_t m, int64_t n) {
  expect(m >= 0 && n >= 0, "negative shape");
  const int64_t bytes = times(times(m, n), sizeof(float));
  auto* memory = new Lent(bytes);
  const nb::capsule owner(memory, [](void* lent) noexcept { delete static_cast<Lent*>(lent); });
  return {static_cast<float*>(memory->data()), {static_cast<std::size_t>(m), static_cast<std::size_t>(n)}, owner};
}

using Norm = std::tuple<Vector, std::optional<Vector>, float, OutMatrix>;

void join(const std::vector<Matrix>& terms, std::optional<OutMatrix> total, const std::vector<Norm>& norms) {
  expect(terms.size() >= 1 && terms.size() <= 3 && norms.size() <= 2, "one to three terms, at most two norms");
  expect(total || norms.size() == 1, "without a total there must be one norm");
  Joined joined{};
  joined.rows = terms[0].shape(0), joined.width = terms[0].shape(1);
  const auto fits = [&](const auto& array) {
    return static_cast<int64_t>(array.shape(0)) == joined.rows && static_cast<int64_t>(array.shape(1)) == joined.width;
  };
  for (const Matrix& term : terms) {
    expect(fits(term), "terms must be of one shape");
    joined.terms[joined.term_count++] = term.data();
  }
  expect(!total || fits(*total), "the total must be like the terms");
  joined.total = total ? total->data() : nullptr;
  for (const auto& [weight, bias, eps, out] : norms) {
    expect(fits(out), "outputs must be like the terms");
    expect(static_cast<int64_t>(weight.shape(0)) == joined.width &&
               (!bias || static_cast<int64_t>(bias->shape(0)) == joined.width),
           "weights of norms must be (width,)");
    joined.norms[joined.norm_count] = {weight.data(), bias ? bias->data() : nullptr, eps};
    joined.out[joined.norm_count++] = out.data();
  }
  nb::gil_scoped_release unlocked;
  kernels().join(joined);
}

void log_softmax(OutMatrix scores) {
  nb::gil_scoped_release unlocked;
  kernels().log_softmax(scores.data(), scores.shape(0), scores.shape(1));
}

// The highest numbers of each row (N), as many as `values` and `places` (M, count) have room for.
void highest(const Matrix& scores, OutMatrix values, Out<int64_t, 2> places) {
  const int64_t m = scores.shape(0), n = scores.shape(1), count = values.shape(1);
  expect(static_cast<int64_t>(values.shape(0)) == m && static_cast<int64_t>(places.shape(0)) == m &&
             static_cast<int64_t>(places.shape(1)) == count && count <= n,
         "values and places must be (M, count), count at most N");
  expect(!overlap(scores, values) && !overlap(scores, places) && !overlap(values, places), "arrays overlap");
  nb::gil_scoped_release unlocked;
  kernels().highest(scores.data(), m, n, count, values.data(), places.data());
}

}  // namespace

NB_MODULE(_native, module) {
  bind_blocks(module);
  module.def("isa", [] { return kernels().name; });
  module.def("set_threads", &set_threads);
  module.def("threads", &threads);
  module.def("gemm_float", &gemm_float);
  nb::class_<Bytes>(module, "Bytes").def(nb::new_(&make_bytes));
  module.def("gemm_bytes", &gemm_bytes);
  module.def("take", &take);
  module.def("join", &join);
  module.def("log_softmax", &log_softmax);
  module.def("highest", &highest);
  bind_attention(module);
  bind_program(module);  // after the matrices that it takes
}
