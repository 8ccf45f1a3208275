// A tile of a matrix product is finished and written.
#pragma once

#include "buffer.h"
#include "kernels.h"
#include "maths.h"

namespace ENFOLD_ISA {

// Each of several vectors through an activation. The loop is inside the choice, so that their long chains overlap.
inline void activate(Activation kind, f32v* x, int count) {
  const auto each = [&](auto function) {
    for (int i = 0; i < count; i++) x[i] = function(x[i]);
  };
  switch (kind) {
    case Activation::gelu: return each(gelu);
    case Activation::gelu_tanh: return each(gelu_tanh);
    case Activation::relu: return each([](f32v x) { return max(all(0.f), x); });
    case Activation::silu: return each(silu);
    case Activation::tanh: return each(tanh);
    default: return;
  }
}

// Sixteen columns of `rows` rows from `row` and `column` on, of which `valid` columns exist. `sums` are used up.
inline void write(const Finish& finish, int64_t row, int rows, int64_t column, int valid, f32v (*sums)[2]) {
  const int halves = valid > LANES ? 2 : 1;
  if (finish.bias)
    for (int half = 0; half < halves; half++) {
      const int count = least(LANES, valid - half * LANES);
      const float* at = finish.bias + column + half * LANES;
      const f32v bias = count == LANES ? load(at) : load_some(at, count);
      for (int i = 0; i < rows; i++) sums[i][half] += bias;
    }
  activate(finish.activation, sums[0], 2 * rows);
  for (int i = 0; i < rows; i++)
    for (int half = 0; half < halves; half++) {
      const int count = least(LANES, valid - half * LANES);
      const int64_t at = (row + i) * finish.stride + column + half * LANES;
      f32v value = sums[i][half];
      if (finish.gate) value *= count == LANES ? load(finish.gate + at) : load_some(finish.gate + at, count);
      if (count == LANES) store(finish.out + at, value);
      else store_some(finish.out + at, value, count);
    }
}

}  // namespace ENFOLD_ISA
