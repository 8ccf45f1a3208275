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

// x · Φ(x) with Φ(x) = ½ + x P(x²) / Q(x²), fitted by weighted least squares for |x| ≤ 5.5; beyond, Φ is as good as 0 or 1.
// Half the work of the exponential in kernels.py, with about the same error, 1e-6 near -5 and less elsewhere.
inline f32v gelu(f32v x) {
  const f32v bounded = min(all(5.5f), max(all(-5.5f), x)), t = bounded * bounded;
  f32v p = t * 2.2749343207e-08f + 6.3521301502e-06f;
  f32v q = t * 1.1975041904e-06f + 7.3647908660e-05f;
  p = p * t + 1.6882687512e-04f, q = q * t + 1.8844516051e-03f;
  p = p * t + 4.6772679779e-03f, q = q * t + 2.8645937616e-02f;
  p = p * t + 3.3852760234e-02f, q = q * t + 2.5152220428e-01f;
  p = p * t + 3.9894223462e-01f, q = q * t + 1.f;
  return max(all(-5.5f), x) * (bounded * (p / q) + 0.5f);
}

inline f32v gelu_tanh(f32v x) {
  const float a = 0.7978845608f;  // √(2/π)
  return x * sigmoid(2.f * x * (x * x * (0.044715f * a) + a));
}

inline f32v silu(f32v x) { return x * sigmoid(x); }
inline f32v tanh(f32v x) { return 2.f * sigmoid(2.f * x) - 1.f; }

}  // namespace ENFOLD_ISA
