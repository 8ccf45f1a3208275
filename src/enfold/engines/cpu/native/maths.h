// Elementary functions of vectors. Errors are those of the twins in kernels.py: about 1e-7 of the result.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace ENFOLD_ISA {

// e^x by 2^n · e^r, |r| ≤ ln 2 / 2, and the first terms of its series; 0 below e^-87, NaN stays
inline f32v exp(f32v x) {
  const f32v whole = all(12582912.f);  // adding 1.5 · 2^23 rounds to whole numbers
  const f32v bounded = min(all(88.f), max(all(-87.3f), x));
  const f32v shifted = bounded * 1.44269504f + whole;
  const f32v n = shifted - whole;
  const f32v r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  f32v p = all(1.f / 5040);
  p = p * r + 1.f / 720;
  p = p * r + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  const i32v power = (as_int(shifted) - 0x4B400000 + 127) << 23;
  const f32v result = p * as_float(power);
  return x < -87.3f ? all(0.f) : result;
}

inline f32v sigmoid(f32v x) { return 1.f / (1.f + exp(-x)); }

// x · Φ(x) with erf(x / √2) = tanh(x · P(x²)); the coefficients are those of kernels.py
inline f32v gelu(f32v x) {
  const f32v square = min(all(36.f), x * x);
  f32v p = square * 1.8056723907422068e-09f + -1.3344908900473467e-07f;
  p = p * square + 3.969156568349675e-06f;
  p = p * square + -5.524053880483004e-05f;
  p = p * square + -3.3128556124203165e-05f;
  p = p * square + 3.633428123099687e-02f;
  p = p * square + 7.978842171820906e-01f;
  return x * sigmoid(2.f * x * p);
}

inline f32v gelu_tanh(f32v x) {
  const float a = 0.7978845608f;  // √(2/π)
  return x * sigmoid(2.f * x * (x * x * (0.044715f * a) + a));
}

inline f32v activate(Activation kind, f32v x) {
  switch (kind) {
    case Activation::gelu: return gelu(x);
    case Activation::gelu_tanh: return gelu_tanh(x);
    case Activation::relu: return max(all(0.f), x);
    case Activation::silu: return x * sigmoid(x);
    case Activation::tanh: return 2.f * sigmoid(2.f * x) - 1.f;
    default: return x;
  }
}

}  // namespace ENFOLD_ISA
