// out = x Wᵀ where W is of signed bytes with a scale for each of its rows, and x becomes unsigned bytes with a scale and
// a zero for each of its rows.
//
// x is written in seven bits: the sum of two products of bytes then fits the 16 bits of AVX2's instruction. Sixteen rows
// of W stand as a panel [K/4][16][4], so that four products of sixteen sums are two instructions' worth of memory read
// in order. The few largest numbers of a row of x would take most of the seven bits: they are left out of the bytes, and
// their products are added in float32. So are whole columns (`outliers`) that are always large: there even the rounding of
// weights would show, which are therefore kept in float32.
#pragma once

#include "buffer.h"
#include "epilogue.h"
#include "gemm_float.h"
#include "pool.h"

namespace ENFOLD_ISA {

constexpr int64_t BYTES_TILE = 6, BYTES_MC = 48;
constexpr int64_t BYTES_AHEAD = 3072;  // asked for early: the processor itself stops at a page's end
constexpr int APART_MOST = 32;
constexpr float LEAST_RANGE = 1e-36f;  // what varies less is zero: its scale's inverse would be infinite

// A number of x that is no byte, and where a panel holds the bytes that it is multiplied with: from `place` on, so far to
// the right of the highest byte of each four.
struct Apart {
  int32_t place, shift;
  float value;
};

// x as bytes: scale · (q - zero)
struct ByteRows {
  int64_t depth;  // K rounded up to a multiple of four
  uint8_t* q;     // (M, depth)
  float *scale, *zero;
  float* columns;  // (M, outliers) those that are always large
  Apart* apart;    // (M, APART_MOST), of which
  int32_t* some;   // (M) are there
};

// How large a number must be to stand apart, so that about one in 192 does: of the largest numbers of 32 interleaved
// parts of the row, the one with so many above it.
inline float apart_from(f32v (&peaks)[4], int64_t k) {
  const int wanted = static_cast<int>(least<int64_t>(16, most<int64_t>(1, k / 192)));
  for (int found = 0;;) {
    const float limit = highest(max(max(peaks[0], peaks[1]), max(peaks[2], peaks[3])));
    for (f32v& part : peaks) {
      const i32v here = part == limit;
      found += __builtin_popcount(places_where(here));
      part = here ? all(-1.f) : part;
    }
    if (found >= wanted) return limit;
  }
}

// One row's `k` numbers in their order, eight at a time; the last may be fewer and then zeros: body(place, numbers).
template <typename Body>
inline void by_eights(const float* x, int64_t k, const Body& body) {
  int64_t at = 0;
  for (; at + LANES <= k; at += LANES) body(at, load(x + at));
  if (at < k) body(at, load_some(x + at, static_cast<int>(k - at)));
}

inline void quantize_row(float* x, const ByteMatrix& w, const ByteRows& rows, int64_t row) {
  const int64_t k = w.k;
  uint8_t* q = rows.q + row * rows.depth;
  float wrong = 0;  // becomes NaN with NaN or infinity
  for (int64_t i = 0; i < w.outliers; i++) {
    const float value = x[w.places[i]];
    rows.columns[row * w.outliers + i] = value, x[w.places[i]] = 0, wrong += value - value;
  }
  f32v bad{}, peaks[4]{};
  by_eights(x, k, [&](int64_t at, f32v value) {
    f32v& peak = peaks[at / LANES % 4];
    peak = max(peak, magnitude(value)), bad += value - value;
  });
  wrong += sum(bad);
  const float limit = wrong == 0 ? apart_from(peaks, k) : 0.f;
  Apart* apart = rows.apart + row * APART_MOST;
  int some = 0;
  f32v top{}, bottom{};  // zero is always among the values
  by_eights(x, k, [&](int64_t at, f32v value) {
    unsigned large = limit > 0 ? places_where(magnitude(value) >= limit) : 0;
    for (; large && some < APART_MOST; large &= large - 1) {
      const int i = __builtin_ctz(large);
      const int32_t column = static_cast<int32_t>(at) + i;
      apart[some++] = {column / 4 * 64, 24 - 8 * (column % 4), value[i]};
      x[column] = 0, value[i] = 0;
    }
    top = max(top, value), bottom = min(bottom, value);
  });
  rows.some[row] = some;
  const float low = lowest(bottom), range = highest(top) - low;
  const float inverse = range > LEAST_RANGE && wrong == 0 ? 127.f / range : 0.f;
  const float origin = __builtin_nearbyintf(-low * inverse);
  rows.scale[row] = range / 127.f + wrong;  // every output of a bad row is NaN
  rows.zero[row] = origin;
  const auto code = [&](f32v value) { return to_int(value * inverse + (origin + 0.5f)); };
  int64_t at = 0;
  for (; at + 4 * LANES <= k; at += 4 * LANES)
    store_bytes(q + at, code(load(x + at)), code(load(x + at + LANES)), code(load(x + at + 2 * LANES)),
                code(load(x + at + 3 * LANES)));
  for (; at < rows.depth; at++) {
    const float value = at < k ? x[at] * inverse + (origin + 0.5f) : 0.f;
    q[at] = static_cast<uint8_t>(least(127.f, most(0.f, value)));
  }
}

// Zeros without a call: what is this small is otherwise filled by an instruction that takes longer to start.
template <int ROWS, typename T>
inline void clear(T (*sums)[2]) {
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; i++) sums[i][0] = T{}, sums[i][1] = T{};
}

// whole (ROWS, 16) = products of bytes of x with those of a panel
template <int ROWS>
inline void byte_tile(const uint8_t* x, int64_t stride, const int8_t* panel, int64_t fours, i32v (*whole)[2]) {
  i32v sums[ROWS][2];
  clear<ROWS>(sums);
  for (int64_t k = 0; k < fours; k++) {
    __builtin_prefetch(panel + k * 64 + BYTES_AHEAD);
    const i32v a = load_bytes(panel + k * 64), b = load_bytes(panel + k * 64 + 32);
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
      int32_t four;
      std::memcpy(&four, x + i * stride + k * 4, 4);
      const i32v value = all_i(four);
      sums[i][0] = dot_bytes(sums[i][0], value, a);
      sums[i][1] = dot_bytes(sums[i][1], value, b);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; i++) whole[i][0] = sums[i][0], whole[i][1] = sums[i][1];
}

// sums (ROWS, 16) = columns (ROWS, outliers) that stand apart times their weights, rows `stride` apart. What
// float_tile does from zero on, without what pays for longer sums only: with it products are a twelfth slower.
template <int ROWS>
inline void outlier_tile(const float* columns, int64_t outliers, const float* weights, int64_t stride, f32v (*result)[2]) {
  f32v sums[ROWS][2];
  clear<ROWS>(sums);
  for (int64_t o = 0; o < outliers; o++) {
    const f32v a = load(weights + o * stride), b = load(weights + o * stride + LANES);
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
      const f32v value = all(columns[i * outliers + o]);
      sums[i][0] += value * a, sums[i][1] += value * b;
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; i++) result[i][0] = sums[i][0], result[i][1] = sums[i][1];
}

inline ByteRows quantize_rows(const float* x, int64_t m, const ByteMatrix& w) {
  static thread_local Buffer<uint8_t> bytes;
  static thread_local Buffer<float> numbers;
  static thread_local Buffer<Apart> apart;
  static thread_local Buffer<int32_t> some;
  const int64_t k = w.k, depth = (k + 3) / 4 * 4;
  float* all_numbers = numbers.of((2 + w.outliers) * m);
  const ByteRows rows{depth, bytes.of(m * depth), all_numbers, all_numbers + m, all_numbers + 2 * m,
                      apart.of(m * APART_MOST), some.of(m)};
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

// Eight of the bytes of a panel that one number of x is multiplied with.
inline f32v bytes_at(const int8_t* panel, const Apart& apart, int half) {
  return to_float((load_bytes(panel + apart.place + half * 32) << apart.shift) >> 24);
}

// Up to BYTES_MC rows of x from `first` on, which become rows of the result from `begin` on, with a panel. Each step is
// taken for all rows before the next: the processor then works on several rows at once.
inline void multiply_bytes(const ByteRows& x, int64_t first, int64_t count, const ByteMatrix& w, int64_t panel, int64_t begin,
                           const Finish& finish) {
  const int64_t fours = (w.k + 3) / 4, column = panel * 16;
  const int valid = static_cast<int>(least<int64_t>(16, w.n - column));
  const int8_t* weights = w.panels + panel * fours * 64;
  f32v scale[2], sum[2];
  for (int half = 0; half < 2; half++) {
    const int some = least(LANES, most(0, valid - half * LANES));
    scale[half] = load_some(w.scale + column + half * LANES, some);
    i32v whole{};
    std::memcpy(&whole, w.sum + column + half * LANES, some * sizeof(int32_t));
    sum[half] = to_float(whole);
  }
  const float* apart = w.apart + column;  // (outliers, 16), rows `apart_stride` apart
  int64_t apart_stride = w.n;
  if (valid < 16) {
    static thread_local Buffer<float> memory;
    float* copy = memory.of(w.outliers * 16);
    std::memset(copy, 0, w.outliers * 16 * sizeof(float));
    for (int64_t o = 0; o < w.outliers; o++) std::memcpy(copy + o * 16, apart + o * w.n, valid * sizeof(float));
    apart = copy, apart_stride = 16;
  }
  i32v whole[BYTES_MC][2];
  f32v sums[BYTES_MC][2];
  const auto tiles = [&](auto step) {
    for (int64_t at = 0; at < count; at += BYTES_TILE)
      by_rows(static_cast<int>(least(BYTES_TILE, count - at)), [&](auto rows) { step(rows, first + at, at); });
  };
  tiles([&](auto rows, int64_t row, int64_t at) {
    byte_tile<rows.value>(x.q + row * x.depth, x.depth, weights, fours, whole + at);
  });
  tiles([&](auto rows, int64_t row, int64_t at) {
    outlier_tile<rows.value>(x.columns + row * w.outliers, w.outliers, apart, apart_stride, sums + at);
  });
  for (int64_t at = 0; at < count; at++) {
    const int64_t row = first + at;
    const float step = x.scale[row], zero = x.zero[row];
    f32v low = (to_float(whole[at][0]) - zero * sum[0]) * step, high = (to_float(whole[at][1]) - zero * sum[1]) * step;
    const Apart* large = x.apart + row * APART_MOST;
    for (int i = 0; i < x.some[row]; i++) {
      low += large[i].value * bytes_at(weights, large[i], 0);
      high += large[i].value * bytes_at(weights, large[i], 1);
    }
    sums[at][0] += low * scale[0], sums[at][1] += high * scale[1];
  }
  write(finish, begin, static_cast<int>(count), column, valid, sums);
}

inline void gemm_bytes(const float* x, int64_t m, const ByteMatrix& w, const Finish& finish) {
  const int64_t panels = (w.n + 15) / 16, blocks = (m + BYTES_MC - 1) / BYTES_MC;
  if (blocks >= 4 * threads()) {  // each thread rounds the rows that it multiplies
    return parallel(static_cast<int>(blocks), [&](int block) {
      const int64_t begin = m * block / blocks, count = m * (block + 1) / blocks - begin;
      const ByteRows rows = quantize_rows(x + begin * w.k, count, w);
      for (int64_t panel = 0; panel < panels; panel++) multiply_bytes(rows, 0, count, w, panel, begin, finish);
    });
  }
  const ByteRows rows = quantize_rows(x, m, w);
  const int64_t limit = m < BYTES_MC ? most<int64_t>(1, 32768 / most<int64_t>(1, w.k * 16)) : 6;
  const int64_t group = most<int64_t>(1, least<int64_t>(limit, panels * blocks / (4 * threads())));
  const int64_t groups = (panels + group - 1) / group;
  parallel(static_cast<int>(groups * blocks), [&](int task) {
    // neighbouring tasks share rows of W, which are the larger part
    const int64_t begin = task % blocks * BYTES_MC, count = least(m - begin, BYTES_MC);
    const int64_t first = task / blocks * group, beyond = least(panels, first + group);
    for (int64_t panel = first; panel < beyond; panel++) multiply_bytes(rows, begin, count, w, panel, begin, finish);
  });
}

}  // namespace ENFOLD_ISA
