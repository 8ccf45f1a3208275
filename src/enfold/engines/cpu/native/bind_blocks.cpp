// What Python sees of matrices in blocks.

#include "bindings.h"

namespace {

Blocks make_blocks(Array<uint8_t, 3> panels, int64_t rows, int bits, int group, bool offsets, int zero) {
  expect((bits == 4 && group == 32) || (bits == 6 && (group == 16 || group == 32)) || (bits == 8 && group == 32),
         "blocks are of 4 or 8 bits in groups of 32, or of 6 bits in groups of 16 or 32");
  expect(zero >= 0 && zero < 64, "zero must be one of the codes");
  const int64_t block = group * 16 * (bits == 4 ? 4 : 8) / 8 + (offsets ? 64 : 32);
  expect(rows >= 0 && static_cast<int64_t>(panels.shape(0)) == rows / 16 + (rows % 16 != 0) &&
             static_cast<int64_t>(panels.shape(2)) == block,
         "panels must be (ceil(N / 16), K / group, bytes of a block)");
  const int64_t columns = static_cast<int64_t>(panels.shape(1)) * group;
  return {panels, {rows, columns, panels.data(), bits, group, offsets, zero}};
}

void gemm_blocks(const Matrix& x, const Blocks& w, std::optional<Vector> bias, int activation,
                 std::optional<Matrix> gate, Rows<float> out) {
  expect(static_cast<int64_t>(x.shape(1)) == w.matrix.k, "x must be (M, K)");
  const Finish finish = finish_of(bias, activation, gate, out, x, w.matrix.n);
  nb::gil_scoped_release unlocked;
  kernels().gemm_blocks(x.data(), x.shape(0), w.matrix, finish);
}

void block_rows(const Blocks& w, const Array<int64_t, 1>& ids, OutMatrix out) {
  expect(out.shape(0) == ids.shape(0) && static_cast<int64_t>(out.shape(1)) == w.matrix.k, "out must be (T, K)");
  expect(reinterpret_cast<uintptr_t>(ids.data()) % alignof(int64_t) == 0, "ids must be aligned");
  for (std::size_t i = 0; i < ids.shape(0); i++)
    expect(ids.data()[i] >= 0 && ids.data()[i] < w.matrix.n, "ids must be rows of the matrix");
  nb::gil_scoped_release unlocked;
  kernels().block_rows(w.matrix, ids.data(), ids.shape(0), out.data());
}

}  // namespace

void bind_blocks(nb::module_& module) {
  nb::class_<Blocks>(module, "Blocks").def(nb::new_(&make_blocks));
  module.def("gemm_blocks", &gemm_blocks);
  module.def("block_rows", &block_rows);
}
