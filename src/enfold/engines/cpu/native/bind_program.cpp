// A program: what all layers of a stack compute, written down once and run by one call, so that a step of one token
// doesn't spend its time between kernels.
//
// Results lie in one piece of memory. Each is a column of that memory's rows: `start` numbers of every row of the batch
// come before it, and it is `width` numbers wide. A slot is such a result, or some neighbouring columns of it. Slots are
// checked when a step is written down, and what a pass brings (its rows, caches, angles) when it runs.

#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <utility>

#include "lent.h"
#include "views.h"

namespace {

using Slot = std::tuple<int64_t, int64_t, int64_t, int64_t>;  // start, width, first column, columns
using Angles = std::tuple<Matrix, Matrix>;
using Norm = std::tuple<Vector, std::optional<Vector>, float, Slot>;
// keys and values of each layer; which row each sequence reads, how much was there, how much is to be read
using Cached = std::tuple<std::vector<OutStored>, std::vector<OutStored>, Places, std::optional<Places>, Places>;

// A cache during a pass.
struct Stores {
  std::vector<KeyStore> layers;
  Integers rows, pasts, lengths;
  bool grows = false;
};

struct Pass {
  float* memory;
  int64_t rows;
  Spans spans;
  const Lines *cosines, *sines;
  BiasLines bias;
  Stores own, others;
};

Stores stores_of(const std::optional<Cached>& given) {
  if (!given) return {};
  const auto& [keys, values, rows, pasts, lengths] = *given;
  expect(keys.size() == values.size(), "there must be as many keys as values");
  Stores stores{{}, integers_of(rows), pasts ? integers_of(*pasts) : Integers{}, integers_of(lengths), pasts.has_value()};
  for (std::size_t i = 0; i < keys.size(); i++) stores.layers.push_back(store_of(keys[i], values[i]));
  return stores;
}

class Program {
 public:
  explicit Program(int64_t width) : width_(width) { expect(width >= 0 && width < 1 << 30, "the width must fit memory"); }

  void product(nb::object matrix, std::optional<Vector> bias, int activation, std::optional<Slot> gate, Slot from, Slot to) {
    const auto write = [&](int64_t n, int64_t k) {
      expect(columns(whole(from)) == k && columns(whole(to)) == n, "slots must be as wide as the matrix");
      expect(!gate || columns(whole(*gate)) == n, "the gate must be as wide as the result");
      expect(!bias || static_cast<int64_t>(bias->shape(0)) == n, "bias must be (N,)");
      expect(activation >= 0 && activation <= static_cast<int>(Activation::tanh), "unknown activation");
      expect(!overlap(from, to), "a product can't be written where it is read");
    };
    const auto finish = [bias, activation, gate, to](const Pass& pass) {
      return Finish{bias ? bias->data() : nullptr, static_cast<Activation>(activation), gate ? at(pass, *gate).data : nullptr,
                    at(pass, to).data, columns(to)};
    };
    if (nb::isinstance<Bytes>(matrix)) {
      const ByteMatrix w = nb::cast<const Bytes&>(matrix).view();
      write(w.n, w.k);
      add([=](const Pass& pass) { kernels().gemm_bytes(at(pass, from).data, pass.rows, w, finish(pass)); });
    } else if (nb::isinstance<Blocks>(matrix)) {
      const BlockMatrix w = nb::cast<const Blocks&>(matrix).matrix;
      write(w.n, w.k);
      add([=](const Pass& pass) { kernels().gemm_blocks(at(pass, from).data, pass.rows, w, finish(pass)); });
    } else {
      Matrix w;
      expect(nb::try_cast(matrix, w, false), "a matrix must be one of floats (N, K), of bytes or of blocks");
      write(w.shape(0), w.shape(1));
      add([=](const Pass& pass) {
        kernels().gemm_float(at(pass, from).data, pass.rows, w.shape(1), w.data(), w.shape(0), finish(pass));
      });
    }
    kept_.push_back(std::move(matrix));
  }

  void join(std::vector<Slot> terms, std::optional<Slot> total, std::vector<Norm> norms) {
    expect(terms.size() >= 1 && terms.size() <= 3 && norms.size() <= 2, "one to three terms, at most two norms");
    expect(total || norms.size() == 1, "without a total there must be one norm");
    const int64_t width = columns(terms[0]);
    for (const Slot& term : terms) expect(columns(whole(term)) == width, "terms must be of one width");
    expect(!total || columns(whole(*total)) == width, "the total must be as wide as the terms");
    for (const auto& [weight, bias, eps, out] : norms) {
      expect(columns(whole(out)) == width, "outputs must be as wide as the terms");
      expect(static_cast<int64_t>(weight.shape(0)) == width && (!bias || static_cast<int64_t>(bias->shape(0)) == width),
             "weights of norms must be (width,)");
    }
    add([=](const Pass& pass) {
      Joined joined{};
      joined.rows = pass.rows, joined.width = width;
      for (const Slot& term : terms) joined.terms[joined.term_count++] = at(pass, term).data;
      joined.total = total ? at(pass, *total).data : nullptr;
      for (const auto& [weight, bias, eps, out] : norms) {
        joined.norms[joined.norm_count] = {weight.data(), bias ? bias->data() : nullptr, eps};
        joined.out[joined.norm_count++] = at(pass, out).data;
      }
      kernels().join(joined);
    });
  }

  // Some columns as a result of their own.
  void copy(Slot from, Slot to) {
    expect(columns(inside(from)) == columns(whole(to)) && !overlap(from, to), "a copy is as wide as what it copies");
    add([=](const Pass& pass) { copy_lines(at(pass, from), at(pass, to)); });
  }

  // Each `width` numbers of a row on their own, written elsewhere.
  void norm(Slot from, Vector weight, std::optional<Vector> bias, float eps, Slot to) {
    const int64_t width = weight.shape(0);
    expect(width > 0 && columns(inside(from)) % width == 0 && columns(whole(to)) == columns(from) && !overlap(from, to),
           "a norm is written to a slot of its own that is as wide as what it reads");
    expect(!bias || static_cast<int64_t>(bias->shape(0)) == width, "weights of norms must be (width,)");
    add([=](const Pass& pass) {
      const Lines out = at(pass, to);
      copy_lines(at(pass, from), out);
      Joined joined{};
      joined.rows = out.rows * (out.width / width), joined.width = width;
      joined.terms[0] = joined.out[0] = out.data, joined.term_count = joined.norm_count = 1;
      joined.norms[0] = {weight.data(), bias ? bias->data() : nullptr, eps};
      kernels().join(joined);
    });
  }

  void rotate(Slot slot, int64_t size) {
    inside(slot);
    add([=](const Pass& pass) {
      expect(pass.cosines, "this program needs angles");
      rotate_lines(at(pass, slot), size, *pass.cosines, *pass.sines);
    });
  }

  // Among the pass's own rows.
  void attend(Slot query, Slot key, Slot value, int64_t heads, int64_t kv_heads, int64_t size, float scale, bool causal,
              int64_t window, bool biased, Slot to) {
    inside(query), inside(key), inside(value), apart(to, {query, key, value});
    const AttendKind kind{heads, kv_heads, size, scale, causal, window};
    add([=](const Pass& pass) {
      attend_lines(at(pass, query), at(pass, key), at(pass, value), kind, pass.spans, pass.spans.begin, pass.spans.count,
                   bias_for(pass, biased), at(pass, to));
    });
  }

  // With keys that a cache holds: those of the tokens themselves, which are added first, or those of an encoder.
  void attend_cached(std::size_t depth, Slot query, std::optional<std::tuple<Slot, Slot>> added, int64_t heads,
                     int64_t kv_heads, int64_t size, float scale, bool causal, int64_t window, bool biased, Slot to) {
    inside(query), apart(to, {query});
    if (added) inside(std::get<0>(*added)), inside(std::get<1>(*added));
    const AttendKind kind{heads, kv_heads, size, scale, causal, window};
    add([=](const Pass& pass) {
      const Stores& stores = added ? pass.own : pass.others;
      expect(depth < stores.layers.size(), "this program needs a cache of more layers");
      const KeyStore& store = stores.layers[depth];
      if (added) {
        expect(stores.grows, "this program adds to the cache");
        keep_lines(at(pass, std::get<0>(*added)), at(pass, std::get<1>(*added)), store, pass.spans, stores.rows, stores.pasts);
      }
      attend_store(at(pass, query), store, kind, pass.spans, stores.rows, stores.lengths, bias_for(pass, biased), at(pass, to));
    });
  }

  // Copies `inputs` into their slots, runs all steps, and copies the slot `from` out.
  void run(const std::vector<std::tuple<Matrix, Slot>>& inputs, Slot from, OutMatrix out, const Places& begin,
           const Places& count, std::optional<Angles> angles, std::optional<Bias> bias, std::optional<Cached> own,
           std::optional<Cached> others) {
    sealed_ = true;  // other threads may be running the steps from here on
    const int64_t rows = out.shape(0);
    expect(columns(whole(from)) == static_cast<int64_t>(out.shape(1)), "out must be as wide as its slot");
    for (const auto& [input, slot] : inputs)
      expect(static_cast<int64_t>(input.shape(0)) == rows && static_cast<int64_t>(input.shape(1)) == columns(whole(slot)),
             "inputs must be like their slots");
    Lines cosines{}, sines{};
    if (angles) cosines = whole_lines_of(std::get<0>(*angles)), sines = whole_lines_of(std::get<1>(*angles));
    const int64_t bytes = times(times(rows, width_), sizeof(float));
    Pass pass{nullptr,        rows, {integers_of(begin), integers_of(count)}, angles ? &cosines : nullptr, &sines,
              bias_of(bias), stores_of(own), stores_of(others)};
    nb::gil_scoped_release unlocked;
    const Lent memory(bytes);
    pass.memory = static_cast<float*>(memory.data());
    for (const auto& [input, slot] : inputs) std::memcpy(at(pass, slot).data, input.data(), input.nbytes());
    auto asked = std::chrono::steady_clock::now();
    for (const auto& step : steps_) {
      step(pass);
      if (const auto now = std::chrono::steady_clock::now(); now - asked > std::chrono::milliseconds(100)) {
        const nb::gil_scoped_acquire locked;  // somebody may have pressed Ctrl-C
        if (PyErr_CheckSignals()) throw nb::python_error();
        asked = now;
      }
    }
    std::memcpy(out.data(), at(pass, from).data, out.nbytes());
  }

 private:
  static int64_t columns(const Slot& slot) { return std::get<3>(slot); }

  static Lines at(const Pass& pass, const Slot& slot) {
    const auto [start, width, column, columns] = slot;
    return {pass.memory + pass.rows * start + column, pass.rows, columns, width};
  }

  const Slot& inside(const Slot& slot) const {
    const auto [start, width, column, columns] = slot;
    expect(start >= 0 && width > 0 && start <= width_ - width && column >= 0 && columns > 0 && column <= width - columns,
           "a slot beyond the memory");
    return slot;
  }

  const Slot& whole(const Slot& slot) const {
    expect(columns(inside(slot)) == std::get<1>(slot), "this step takes whole results, not some of their columns");
    return slot;
  }

  static bool overlap(const Slot& a, const Slot& b) {
    return std::get<0>(a) < std::get<0>(b) + std::get<1>(b) && std::get<0>(b) < std::get<0>(a) + std::get<1>(a);
  }

  void apart(const Slot& to, std::initializer_list<Slot> sources) const {
    whole(to);
    for (const Slot& source : sources) expect(!overlap(source, to), "attention can't be written where it is read");
  }

  static BiasLines bias_for(const Pass& pass, bool biased) {
    expect(!biased || pass.bias.data, "this program needs a bias");
    return biased ? pass.bias : BiasLines{};
  }

  static void copy_lines(const Lines& from, const Lines& to) {
    for (int64_t row = 0; row < from.rows; row++)
      std::memcpy(to.data + row * to.stride, from.data + row * from.stride, from.width * sizeof(float));
  }

  template <typename Step>
  void add(Step step) {
    expect(!sealed_, "a program that has run can't be changed");
    steps_.emplace_back(std::move(step));
  }

  int64_t width_;
  bool sealed_ = false;
  std::vector<std::function<void(const Pass&)>> steps_;
  std::vector<nb::object> kept_;  // matrices, which steps point into
};

}  // namespace

void bind_program(nb::module_& module) {
  nb::class_<Program>(module, "Program")
      .def(nb::init<int64_t>())
      .def("product", &Program::product)
      .def("join", &Program::join)
      .def("copy", &Program::copy)
      .def("norm", &Program::norm)
      .def("rotate", &Program::rotate)
      .def("attend", &Program::attend)
      .def("attend_cached", &Program::attend_cached)
      .def("run", &Program::run);
}
