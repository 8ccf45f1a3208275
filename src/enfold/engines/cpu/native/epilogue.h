// A tile of a matrix product is finished and written.
#pragma once

#include "kernels.h"
#include "maths.h"

namespace ENFOLD_ISA {

// Sixteen columns of a row from `column` on, of which `valid` exist.
inline void write(const Finish& finish, int64_t row, int64_t column, int valid, f32v low, f32v high) {
  float* at = finish.out + row * finish.stride + column;
  const float* gate = finish.gate ? finish.gate + row * finish.stride + column : nullptr;
  if (valid >= 2 * LANES) {
    if (finish.bias) low += load(finish.bias + column), high += load(finish.bias + column + LANES);
    if (finish.activation != Activation::none)
      low = activate(finish.activation, low), high = activate(finish.activation, high);
    if (gate) low *= load(gate), high *= load(gate + LANES);
    store(at, low);
    store(at + LANES, high);
    return;
  }
  for (int done = 0; done < valid; done += LANES) {
    const int count = valid - done < LANES ? valid - done : LANES;
    f32v value = done ? high : low;
    if (finish.bias) value += load_some(finish.bias + column + done, count);
    value = activate(finish.activation, value);
    if (gate) value *= load_some(gate + done, count);
    store_some(at + done, value, count);
  }
}

}  // namespace ENFOLD_ISA
