// The kernels of one instruction set, and what they are told. Shapes are checked by whoever calls them.
#pragma once

#include <cstdint>

// In the order of kernels.ACTIVATIONS
enum class Activation : int { none = 0, gelu, gelu_tanh, relu, silu, tanh };

// What happens to a matrix product before it is written: out = activation(product + bias) · gate
struct Finish {
  const float* bias;  // (N) or null
  Activation activation;
  const float* gate;  // (M, N) or null
  float* out;         // (M, N), rows `stride` apart, like those of the gate
  int64_t stride;
};

// A matrix (N, K) of signed bytes; see gemm_bytes.h
struct ByteMatrix {
  int64_t n, k;
  const int8_t* panels;   // (ceil(N / 16), ceil(K / 4), 16, 4)
  const float* scale;     // (N)
  const int32_t* sum;     // (N) sums of a row's bytes
  int64_t outliers;       // columns of x that are no bytes
  const int32_t* places;  // (outliers) where they are
  const float* apart;     // (outliers, N) their weights
};

struct Kernels {
  const char* name;
  void (*gemm_float)(const float* x, int64_t m, int64_t k, const float* w, int64_t n, const Finish& finish);
  void (*gemm_bytes)(const float* x, int64_t m, const ByteMatrix& w, const Finish& finish);
};

extern const Kernels portable_kernels, avx2_kernels, avx512_kernels, neon_kernels;

// The kernels that run: the best of those that were built and that this processor has.
const Kernels& kernels();
