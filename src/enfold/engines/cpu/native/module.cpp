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

using Bias = Strict<nb::ndarray<const float, nb::numpy, nb::ndim<4>, nb::device::cpu>>;

// Keys of all sequences: how many numbers there are from the first to the last, and how far apart keys and heads are.
struct KeySpace {
  const float *keys, *values;
  int64_t numbers, key_stride, head_stride;
};

void attend(const Rows<const float>& query, const KeySpace& space, int64_t heads, int64_t kv_heads, int64_t size,
            const Places& begin, const Places& count, const Places& offset, const Places& length, float scale, bool causal,
            int64_t window, const std::optional<Bias>& bias, OutMatrix out) {
  const int64_t sequences = begin.shape(0), tokens = query.shape(0);
  expect(heads > 0 && kv_heads > 0 && size > 0 && heads % kv_heads == 0, "heads must be a multiple of kv_heads");
  expect(static_cast<int64_t>(query.shape(1)) == times(heads, size), "query must be (T, heads * size)");
  expect(out.shape(0) == query.shape(0) && out.shape(1) == query.shape(1), "out must be like query");
  expect(count.shape(0) == begin.shape(0) && offset.shape(0) == begin.shape(0) && length.shape(0) == begin.shape(0),
         "begin, count, offset and length must be of one length");
  expect(window >= 0, "window must not be negative");
  Attention a{query.data(), stride_of(query), space.keys, space.values, space.key_stride, space.head_stride, out.data(),
              heads, kv_heads, size, sequences, begin.data(), count.data(), offset.data(), length.data(), scale, causal,
              window, nullptr, 0, 0, 0};
  for (int64_t i = 0; i < sequences; i++) {
    expect(a.begin[i] >= 0 && a.count[i] >= 0 && a.begin[i] <= tokens && a.count[i] <= tokens - a.begin[i],
           "queries beyond the end");
    const int64_t reach = (kv_heads - 1) * a.head_stride + size;
    expect(a.length[i] >= 0 && a.offset[i] >= 0, "negative keys");
    expect(a.length[i] == 0 || (a.offset[i] <= space.numbers - reach &&
                                (a.length[i] - 1) <= (space.numbers - reach - a.offset[i]) / a.key_stride),
           "keys beyond the end");
    expect(!causal || a.length[i] >= a.count[i], "fewer keys than queries");
    if (bias) {
      expect(bias->shape(0) == 1 || static_cast<int64_t>(bias->shape(0)) == sequences, "bias must be (1 or B, H, S, S')");
      expect(static_cast<int64_t>(bias->shape(1)) == heads && static_cast<int64_t>(bias->shape(2)) >= a.count[i] &&
                 static_cast<int64_t>(bias->shape(3)) >= a.length[i],
             "bias must reach over all queries and keys");
    }
  }
  if (bias) {
    expect(bias->shape(3) < 2 || bias->stride(3) == 1, "numbers of the bias must be next to each other");
    a.bias = bias->data(), a.bias_sequence = bias->shape(0) == 1 ? 0 : bias->stride(0);
    a.bias_head = bias->stride(1), a.bias_row = bias->stride(2);
  }
  nb::gil_scoped_release unlocked;
  kernels().attend(a);
}

void attend_packed(const Rows<const float>& query, const Rows<const float>& key, const Rows<const float>& value,
                   int64_t heads, int64_t kv_heads, int64_t size, const Places& begin, const Places& count,
                   const Places& first, const Places& length, float scale, bool causal, int64_t window,
                   std::optional<Bias> bias, OutMatrix out) {
  const int64_t stride = stride_of(key), width = times(kv_heads, size);
  expect(static_cast<int64_t>(key.shape(1)) == width && static_cast<int64_t>(value.shape(1)) == width &&
             key.shape(0) == value.shape(0),
         "key and value must be (T', kv_heads * size)");
  expect(stride_of(value) == stride, "rows of key and value must be equally far apart");
  const int64_t rows = key.shape(0), numbers = rows ? (rows - 1) * stride + width : 0;
  std::vector<int64_t> offset(first.shape(0));
  for (std::size_t i = 0; i < offset.size(); i++) {
    expect(first.data()[i] >= 0 && first.data()[i] <= rows, "keys beyond the end");
    offset[i] = first.data()[i] * stride;
  }
  const std::size_t shape[1] = {offset.size()};
  attend(query, {key.data(), value.data(), numbers, stride, size}, heads, kv_heads, size, begin, count,
         Places(offset.data(), 1, shape, nb::handle()), length, scale, causal, window, bias, out);
}

void attend_stored(const Rows<const float>& query, const Array<float, 4>& keys, const Array<float, 4>& values,
                   int64_t heads, const Places& begin, const Places& count, const Places& rows, const Places& length,
                   float scale, bool causal, int64_t window, std::optional<Bias> bias, OutMatrix out) {
  for (int i = 0; i < 4; i++) expect(keys.shape(i) == values.shape(i), "keys and values must be of one shape");
  const int64_t kv_heads = keys.shape(1), capacity = keys.shape(2), size = keys.shape(3), row = kv_heads * capacity * size;
  std::vector<int64_t> offset(rows.shape(0));
  for (std::size_t i = 0; i < offset.size(); i++) {
    expect(rows.data()[i] >= 0 && rows.data()[i] < static_cast<int64_t>(keys.shape(0)), "a row beyond the end");
    expect(i >= length.shape(0) || length.data()[i] <= capacity, "keys beyond the end");
    offset[i] = rows.data()[i] * row;
  }
  const std::size_t shape[1] = {offset.size()};
  attend(query, {keys.data(), values.data(), static_cast<int64_t>(keys.shape(0)) * row, size, capacity * size}, heads,
         kv_heads, size, begin, count, Places(offset.data(), 1, shape, nb::handle()), length, scale, causal, window, bias,
         out);
}

// Writes the new keys and values of each sequence after what its row holds.
void keep(const Rows<const float>& key, const Rows<const float>& value, const Out<float, 4>& keys, const Out<float, 4>& values,
          const Places& begin, const Places& count, const Places& rows, const Places& pasts) {
  for (int i = 0; i < 4; i++) expect(keys.shape(i) == values.shape(i), "keys and values must be of one shape");
  const int64_t kv_heads = keys.shape(1), capacity = keys.shape(2), size = keys.shape(3), tokens = key.shape(0);
  expect(static_cast<int64_t>(key.shape(1)) == kv_heads * size && value.shape(1) == key.shape(1) &&
             value.shape(0) == key.shape(0),
         "key and value must be (T, kv_heads * size)");
  const int64_t key_stride = stride_of(key), value_stride = stride_of(value), sequences = begin.shape(0);
  expect(count.shape(0) == begin.shape(0) && rows.shape(0) == begin.shape(0) && pasts.shape(0) == begin.shape(0),
         "begin, count, rows and pasts must be of one length");
  struct Piece {
    int64_t first, some, to;
  };
  std::vector<Piece> pieces;  // copied, as places of bytes are
  for (int64_t i = 0; i < sequences; i++) {
    const int64_t first = begin.data()[i], some = count.data()[i], row = rows.data()[i], past = pasts.data()[i];
    expect(first >= 0 && some >= 0 && first <= tokens && some <= tokens - first, "keys beyond the end");
    expect(row >= 0 && row < static_cast<int64_t>(keys.shape(0)), "a row beyond the end");
    expect(past >= 0 && past <= capacity && some <= capacity - past, "no room for the keys");
    pieces.push_back({first, some, (row * kv_heads * capacity + past) * size});
  }
  nb::gil_scoped_release unlocked;
  const int64_t average = tokens / std::max<int64_t>(1, sequences) * size;
  parallel_range(sequences * kv_heads, 16384 / std::max<int64_t>(1, average), [&](int64_t from, int64_t until) {
    for (int64_t line = from; line < until; line++) {
      const auto [first, some, place] = pieces[line / kv_heads];
      const int64_t head = line % kv_heads, to = place + head * capacity * size;
      const float *k = key.data() + first * key_stride + head * size, *v = value.data() + first * value_stride + head * size;
      for (int64_t token = 0; token < some; token++) {
        std::memcpy(keys.data() + to + token * size, k + token * key_stride, size * sizeof(float));
        std::memcpy(values.data() + to + token * size, v + token * value_stride, size * sizeof(float));
      }
    }
  });
}

void rotate(Rows<float> x, int64_t size, const Matrix& cosines, const Matrix& sines) {
  const int64_t turned = cosines.shape(1);
  expect(size > 0 && x.shape(1) % size == 0 && turned <= size && turned % 2 == 0, "x must be (T, heads * size)");
  expect(cosines.shape(0) == x.shape(0) && sines.shape(0) == x.shape(0) && sines.shape(1) == cosines.shape(1),
         "cosines and sines must be (T, turned)");
  const int64_t stride = stride_of(x);
  nb::gil_scoped_release unlocked;
  kernels().rotate(x.data(), x.shape(0), stride, x.shape(1) / size, size, cosines.data(), sines.data(), turned);
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

}  // namespace

NB_MODULE(_native, module) {
  bind_blocks(module);
  module.def("isa", [] { return kernels().name; });
  module.def("set_threads", &set_threads);
  module.def("threads", &threads);
  module.def("gemm_float", &gemm_float);
  nb::class_<Bytes>(module, "Bytes").def(nb::new_(&make_bytes));
  module.def("gemm_bytes", &gemm_bytes);
  module.def("attend_packed", &attend_packed);
  module.def("attend_stored", &attend_stored);
  module.def("take", &take);
  module.def("keep", &keep);
  module.def("rotate", &rotate);
  module.def("join", &join);
}
