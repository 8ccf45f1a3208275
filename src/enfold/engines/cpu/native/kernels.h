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
  const int8_t* panels;   // (ceil(N / 16), ceil(K / 16), 4, 16, 4)
  const float* scale;     // (N)
  const int32_t* sum;     // (N) sums of a row's bytes
  int64_t outliers;       // columns of x that are no bytes
  const int32_t* places;  // (outliers) where they are
  const float* apart;     // (outliers, N) their weights
};

// A stored key (or value) of a cache of bytes: its head's numbers as signed bytes, and then a float32, their scale.
constexpr int64_t KEY_SCALE = 4;

// Attention of `sequences` to their keys; see attention.h. Keys and values of a sequence begin at the same `offset`.
struct Attention {
  const float* query;  // (T, heads · size), rows `query_stride` apart
  int64_t query_stride;
  const void *keys, *values;        // floats, or
  bool bytes;                       // such bytes
  int64_t key_stride, head_stride;  // from a key to the next, from a head to the next
  float* out;                       // (T, heads · size)
  int64_t heads, kv_heads, size, sequences;
  const int64_t *begin, *count;    // (sequences) each one's queries
  const int64_t *offset, *length;  // (sequences) each one's keys
  float scale;
  bool causal;
  int64_t window;     // how many keys back a query sees; 0: all
  const float* bias;  // null, or added to scores: [sequence][head][query][key], keys next to each other
  int64_t bias_sequence, bias_head, bias_row;
};

struct NormWeights {
  const float *weight, *bias;  // without bias it is an RMS norm
  float eps;
};

// See rows.h
struct Joined {
  int64_t rows, width;
  const float* terms[3];
  int term_count;
  float* total;
  NormWeights norms[2];
  float* out[2];
  int norm_count;
};

// A matrix (N, K) of groups of small whole numbers; see gemm_blocks.h
struct BlockMatrix {
  int64_t n, k;
  const uint8_t* panels;  // (ceil(N / 16), K / group, bytes of a block)
  int bits, group;        // 4 (0 to 15) or 8 (signed) in groups of 32, 6 (0 to 63, in bytes) in groups of 16 or 32
  bool offsets;
  int zero;
};

struct Kernels {
  const char* name;
  void (*gemm_float)(const float* x, int64_t m, int64_t k, const float* w, int64_t n, const Finish& finish);
  void (*gemm_bytes)(const float* x, int64_t m, const ByteMatrix& w, const Finish& finish);
  void (*gemm_blocks)(const float* x, int64_t m, const BlockMatrix& w, const Finish& finish);
  void (*block_rows)(const BlockMatrix& w, const int64_t* ids, int64_t count, float* out);
  void (*attend)(const Attention& attention);
  void (*encode_key)(const float* key, int64_t size, int8_t* stored);
  void (*rotate)(float* x, int64_t tokens, int64_t stride, int64_t heads, int64_t size, const float* cosines,
                 const float* sines, int64_t turned);
  void (*join)(const Joined& joined);
  void (*log_softmax)(float* rows, int64_t m, int64_t n);  // in place
  void (*highest)(const float* rows, int64_t m, int64_t n, int64_t count, float* values, int64_t* places);
};

extern const Kernels portable_kernels, avx2_kernels, avx512_kernels, neon_kernels;

// The kernels that run: the best of those that were built and that this processor has.
const Kernels& kernels();
