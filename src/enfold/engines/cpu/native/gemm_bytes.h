// out = x Wᵀ where W is of signed bytes with a scale for each of its rows, and x becomes unsigned bytes with a scale and
// a zero for each of its rows.
//
// x is written in seven bits: the sum of two products of bytes then fits the 16 bits of AVX2's instruction. Sixteen rows
// of W stand as a panel [K/4][16][4], so that four products of sixteen sums are two instructions' worth of memory read
// in order. The few largest numbers of a row of x would take most of the seven bits: they are left out of the bytes, and
// their products are added in float32. So are whole columns (`outliers`) that are always large: there even the rounding
// of weights would show, which are therefore kept in float32.
#pragma once

#include "buffer.h"
#include "epilogue.h"
#include "pool.h"

namespace ENFOLD_ISA {

constexpr int64_t BYTES_MC = 48;
constexpr int APART_MOST = 24;
constexpr float LEAST_RANGE = 1e-36f;  // what varies less is zero: its scale's inverse would be infinite

// A number of x that is no byte.
struct Apart {
  int32_t column;
  float value;
};

// x as bytes: scale · (q - zero)
struct ByteRows {
  int64_t depth;  // K rounded up to a multiple of four
  uint8_t* q;     // (M, depth)
  float *scale, *zero;
  Apart* apart;    // (M, APART_MOST), of which
  int32_t* some;   // (M) are there
  float* columns;  // (M, outliers) those that are always large
};

// How large a number must be to stand apart, so that about one in 192 does: of the largest numbers of 32 interleaved
// parts of the row, the one with so many above it.
inline float apart_from(const float* x, int64_t k) {
  float peaks[32];
  f32v tops[4]{};
  int64_t at = 0;
  for (; at + LANES <= k; at += LANES) tops[at / LANES % 4] = max(tops[at / LANES % 4], magnitude(load(x + at)));
  if (at < k) tops[at / LANES % 4] = max(tops[at / LANES % 4], magnitude(load_some(x + at, static_cast<int>(k - at))));
  std::memcpy(peaks, tops, sizeof peaks);
  const int wanted = static_cast<int>(least<int64_t>(16, most<int64_t>(1, k / 192)));
  float limit = 0;
  for (int round = 0; round < wanted; round++) {
    int best = 0;
    for (int i = 1; i < 32; i++)
      if (peaks[i] > peaks[best]) best = i;
    limit = peaks[best], peaks[best] = -1;
  }
  return limit;
}

// Takes the numbers that stand apart out of a row, in order; returns how many they are.
inline int take_apart(float* x, int64_t k, float limit, Apart* apart) {
  int count = 0;
  for (int64_t at = 0; at < k; at += LANES) {
    const int here = static_cast<int>(least<int64_t>(LANES, k - at));
    const f32v value = here == LANES ? load(x + at) : load_some(x + at, here);
    if (highest(magnitude(value)) < limit) continue;
    for (int i = 0; i < here && count < APART_MOST; i++)
      if (magnitude(value)[i] >= limit) apart[count++] = {static_cast<int32_t>(at + i), value[i]}, x[at + i] = 0;
  }
  return count;
}

inline void quantize_row(float* x, const ByteMatrix& w, const ByteRows& rows, int64_t row) {
  const int64_t k = w.k;
  uint8_t* q = rows.q + row * rows.depth;
  f32v bad{};  // becomes NaN with NaN or infinity
  int64_t at = 0;
  for (; at + LANES <= k; at += LANES) bad += load(x + at) - load(x + at);
  for (; at < k; at++) bad[0] += x[at] - x[at];
  for (int64_t i = 0; i < w.outliers; i++) {
    rows.columns[row * w.outliers + i] = x[w.places[i]];
    x[w.places[i]] = 0;
  }
  const float wrong = sum(bad), limit = wrong == 0 ? apart_from(x, k) : 0.f;
  rows.some[row] = limit > 0 ? take_apart(x, k, limit, rows.apart + row * APART_MOST) : 0;
  f32v top{}, bottom{};  // zero is always among the values
  for (at = 0; at + LANES <= k; at += LANES) top = max(top, load(x + at)), bottom = min(bottom, load(x + at));
  if (at < k) {
    const f32v value = load_some(x + at, static_cast<int>(k - at));
    top = max(top, value), bottom = min(bottom, value);
  }
  const float low = lowest(bottom), range = highest(top) - low;
  const float inverse = range > LEAST_RANGE && wrong == 0 ? 127.f / range : 0.f;
  const float origin = __builtin_nearbyintf(-low * inverse);
  rows.scale[row] = range / 127.f + wrong;  // every output of a bad row is NaN
  rows.zero[row] = origin;
  for (at = 0; at + LANES <= k; at += LANES) {
    i32v value = to_int(load(x + at) * inverse + (origin + 0.5f));
    value = value < 0 ? all_i(0) : value > 127 ? all_i(127) : value;
    store_fours(q + at, q + at + 4, value);
  }
  for (; at < rows.depth; at++) {
    const float value = at < k ? x[at] * inverse + (origin + 0.5f) : 0.f;
    q[at] = static_cast<uint8_t>(least(127.f, most(0.f, value)));
  }
}

template <int ROWS>
inline void byte_tile(const uint8_t* x, int64_t stride, const int8_t* panel, int64_t fours, i32v (*sums)[2]) {
  i32v low[ROWS] = {}, high[ROWS] = {};
  for (int64_t k = 0; k < fours; k++) {
    const i32v a = load_bytes(panel + k * 64), b = load_bytes(panel + k * 64 + 32);
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
      int32_t four;
      std::memcpy(&four, x + i * stride + k * 4, 4);
      const i32v value = all_i(four);
      low[i] = dot_bytes(low[i], value, a);
      high[i] = dot_bytes(high[i], value, b);
    }
  }
  for (int i = 0; i < ROWS; i++) sums[i][0] = low[i], sums[i][1] = high[i];
}

inline void byte_rows(int rows, const uint8_t* x, int64_t stride, const int8_t* panel, int64_t fours, i32v (*sums)[2]) {
  by_rows(rows, [&](auto count) { byte_tile<count.value>(x, stride, panel, fours, sums); });
}

inline ByteRows quantize_rows(const float* x, int64_t m, const ByteMatrix& w) {
  static thread_local Buffer<uint8_t> bytes;
  static thread_local Buffer<float> numbers;
  static thread_local Buffer<Apart> apart;
  static thread_local Buffer<int32_t> some;
  const int64_t k = w.k, depth = (k + 3) / 4 * 4;
  float* all_numbers = numbers.of((2 + w.outliers) * m);
  const ByteRows rows{depth, bytes.of(m * depth), all_numbers, all_numbers + m, apart.of(m * APART_MOST), some.of(m),
                      all_numbers + 2 * m};
  parallel_range(m, most<int64_t>(1, 16384 / most<int64_t>(1, k)), [&](int64_t first, int64_t last) {
    static thread_local Buffer<float> memory;
    float* copy = memory.of(k);
    for (int64_t row = first; row < last; row++) {
      std::memcpy(copy, x + row * k, k * sizeof(float));
      quantize_row(copy, w, rows, row);
    }
  });
  return rows;
}

// The products of what stands apart, with bytes of a panel.
inline void add_apart(const Apart* apart, int count, const int8_t* panel, f32v& low, f32v& high) {
  for (int i = 0; i < count; i++) {
    const int8_t* four = panel + apart[i].column / 4 * 64;
    const int shift = 24 - 8 * (apart[i].column % 4);
    low += apart[i].value * to_float((load_bytes(four) << shift) >> 24);
    high += apart[i].value * to_float((load_bytes(four + 32) << shift) >> 24);
  }
}

inline void gemm_bytes(const float* x, int64_t m, const ByteMatrix& w, const Finish& finish) {
  const ByteRows quantized = quantize_rows(x, m, w);
  const int64_t fours = (w.k + 3) / 4, panels = (w.n + 15) / 16, blocks = (m + BYTES_MC - 1) / BYTES_MC;
  const int64_t limit = m < BYTES_MC ? most<int64_t>(1, 32768 / most<int64_t>(1, fours * 64)) : 6;
  const int64_t group = most<int64_t>(1, least<int64_t>(limit, panels * blocks / (4 * threads())));
  const int64_t groups = (panels + group - 1) / group;
  parallel(static_cast<int>(groups * blocks), [&](int task) {
    // neighbouring tasks share rows of W, which are the larger part
    const int64_t begin = task % blocks * BYTES_MC, last = least(m, begin + BYTES_MC);
    const int64_t first = task / blocks * group, beyond = least(panels, first + group);
    for (int64_t panel = first; panel < beyond; panel++) {
      const int64_t column = panel * 16;
      const int valid = static_cast<int>(least<int64_t>(16, w.n - column));
      f32v scale[2], sum[2];
      for (int half = 0; half < 2; half++) {
        const int count = least(LANES, most(0, valid - half * LANES));
        scale[half] = load_some(w.scale + column + half * LANES, count);
        i32v whole{};
        std::memcpy(&whole, w.sum + column + half * LANES, count * sizeof(int32_t));
        sum[half] = to_float(whole);
      }
      for (int64_t row = begin; row < last; row += 6) {
        const int count = static_cast<int>(least<int64_t>(6, last - row));
        i32v sums[6][2];
        byte_rows(count, quantized.q + row * quantized.depth, quantized.depth, w.panels + panel * fours * 64,
                  fours, sums);
        for (int i = 0; i < count; i++) {
          const float step = quantized.scale[row + i], zero = quantized.zero[row + i];
          f32v low = (to_float(sums[i][0]) - zero * sum[0]) * step;
          f32v high = (to_float(sums[i][1]) - zero * sum[1]) * step;
          add_apart(quantized.apart + (row + i) * APART_MOST, quantized.some[row + i], w.panels + panel * fours * 64, low,
                    high);
          low *= scale[0], high *= scale[1];
          const float* large = quantized.columns + (row + i) * w.outliers;
          for (int64_t o = 0; o < w.outliers; o++) {
            const float* weights = w.apart + o * w.n + column;
            if (valid == 16) {
              low += large[o] * load(weights), high += large[o] * load(weights + LANES);
            } else {
              low += large[o] * load_some(weights, least(LANES, valid));
              if (valid > LANES) high += large[o] * load_some(weights + LANES, valid - LANES);
            }
          }
          write(finish, row + i, column, valid, low, high);
        }
      }
    }
  });
}

}  // namespace ENFOLD_ISA
