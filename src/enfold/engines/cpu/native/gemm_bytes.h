// out = x Wᵀ where W is of signed bytes with a scale for each of its rows, and x becomes unsigned bytes with a scale and
// a zero for each of its rows.
//
// AVX2's products of bytes are sums of two in 16 bits. x is written in seven bits, and the bytes of W are so small that
// the sum of eight products fits as well: of sixteen neighbours in a row of W, the positive ones of each half (numbers
// 0, 1, 4, 5, 8, 9, 12, 13, and the others) add up to 258 at most, as do the negative ones: 258 · 127 < 2^15. Widening
// the sums is a third of the work otherwise. Sixteen rows of W stand as a panel [K/16][4][16][4], so that four products
// of sixteen sums are two instructions' worth of memory read in order.
//
// The few largest numbers of a row of x would take most of the seven bits: they are left out of the bytes, and their
// products are added in float32. So are whole columns (`outliers`) that are always large: there even the rounding of
// weights would show, which are therefore kept in float32.
#pragma once

#include "buffer.h"
#include "epilogue.h"
#include "gemm_float.h"
#include "pool.h"

namespace ENFOLD_ISA {

constexpr int64_t BYTES_TILE = 6, BYTES_MC = 48, BYTES_GROUP = 16;
constexpr int64_t BYTES_AHEAD = 3072;  // asked for early: the processor itself stops at a page's end
constexpr int APART_MOST = 32;
constexpr float LEAST_RANGE = 1e-36f;  // what varies less is zero: its scale's inverse would be infinite

// A number of x that is no byte, and where a panel holds the bytes that it is multiplied with: from `place` on, so far to
// the right of the highest byte of each four.
struct Apart {
  int32_t place, shift, row;
  float value;
};

// x as bytes: scale · (q - zero)
struct ByteRows {
  int64_t depth;  // K rounded up to whole groups
  uint8_t* q;     // (M, depth)
  float *scale, *zero;
  float* columns;  // (M, outliers) those that are always large
  Apart* apart;    // (M, APART_MOST), of which
  int32_t* some;   // (M) are there
  Apart* ordered;  // (M, APART_MOST): those of BYTES_MC rows one after another, which are
  int32_t* count;  // (ceil(M / BYTES_MC))
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
      apart[some++] = {column / 4 * 64, 24 - 8 * (column % 4), static_cast<int32_t>(row % BYTES_MC), value[i]};
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
[[gnu::noinline]] inline void byte_tile(const uint8_t* x, int64_t stride, const int8_t* panel, int64_t groups, i32v (*whole)[2]) {
  i32v sums[ROWS][2];
  clear<ROWS>(sums);
  for (int64_t group = 0; group < groups; group++, panel += 16 * BYTES_GROUP) {
    ShortSum parts[ROWS][2] = {};
#pragma GCC unroll 4
    for (int64_t four = 0; four < BYTES_GROUP / 4; four++) {
      __builtin_prefetch(panel + four * 64 + BYTES_AHEAD);
      const i32v a = load_bytes(panel + four * 64), b = load_bytes(panel + four * 64 + 32);
#pragma GCC unroll 6
      for (int i = 0; i < ROWS; i++) {
        int32_t bytes;
        std::memcpy(&bytes, x + i * stride + group * BYTES_GROUP + four * 4, 4);
        const i32v value = all_i(bytes);
        parts[i][0].add(value, a);
        parts[i][1].add(value, b);
      }
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) sums[i][0] += parts[i][0].total(), sums[i][1] += parts[i][1].total();
  }
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; i++) whole[i][0] = sums[i][0], whole[i][1] = sums[i][1];
}

// sums (ROWS, 16) = sums · scale + columns (ROWS, outliers) that stand apart times their weights, rows `stride` apart.
// float_tile would do this too; with what pays for longer sums only, products are a twelfth slower.
template <int ROWS>
inline void outlier_tile(const float* columns, int64_t outliers, const float* weights, int64_t stride, const f32v (&scale)[2],
                         f32v (*result)[2]) {
  f32v sums[ROWS][2];
#pragma GCC unroll 6
  for (int i = 0; i < ROWS; i++) sums[i][0] = result[i][0] * scale[0], sums[i][1] = result[i][1] * scale[1];
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

inline int64_t groups_of(const ByteMatrix& w) { return (w.k + BYTES_GROUP - 1) / BYTES_GROUP; }

// The numbers apart of `count` rows, first each one's first, then their second: neighbours are added to different sums.
inline int32_t in_turn(const Apart* apart, const int32_t* some, int64_t count, Apart* ordered) {
  int32_t found = 0;
  for (int32_t i = 0, before = -1; found > before; i++) {
    before = found;
    for (int64_t row = 0; row < count; row++)
      if (i < some[row]) ordered[found++] = apart[row * APART_MOST + i];
  }
  return found;
}

inline ByteRows quantize_rows(const float* x, int64_t m, const ByteMatrix& w) {
  static thread_local Buffer<uint8_t> bytes;
  static thread_local Buffer<float> numbers;
  static thread_local Buffer<Apart> apart;
  static thread_local Buffer<int32_t> counts;
  const int64_t k = w.k, depth = groups_of(w) * BYTES_GROUP, blocks = (m + BYTES_MC - 1) / BYTES_MC;
  float* all_numbers = numbers.of((2 + w.outliers) * m);
  Apart* all_apart = apart.of(2 * m * APART_MOST);
  int32_t* all_counts = counts.of(m + blocks);
  const ByteRows rows{depth,     bytes.of(m * depth), all_numbers,                all_numbers + m,   all_numbers + 2 * m,
                      all_apart, all_counts,          all_apart + m * APART_MOST, all_counts + m};
  parallel_range(m, most<int64_t>(1, 16384 / most<int64_t>(1, k)), [&](int64_t first, int64_t last) {
    static thread_local Buffer<float> memory;
    float* copy = memory.of(k);
    for (int64_t row = first; row < last; row++) {
      std::memcpy(copy, x + row * k, k * sizeof(float));
      quantize_row(copy, w, rows, row);
    }
  });
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t first = block * BYTES_MC, at = first * APART_MOST;
    rows.count[block] = in_turn(rows.apart + at, rows.some + first, least(BYTES_MC, m - first), rows.ordered + at);
  }
  return rows;
}

// Eight of the bytes of a panel that one number of x is multiplied with.
inline f32v bytes_at(const int8_t* panel, const Apart& apart, int half) {
  return to_float((load_bytes(panel + apart.place + half * 32) << apart.shift) >> 24);
}

// Up to BYTES_MC rows of x, those of a block, which become rows of the result from `begin` on, with a panel. Each step is
// taken for all rows before the next: the processor then works on several rows at once.
inline void multiply_bytes(const ByteRows& x, int64_t block, int64_t count, const ByteMatrix& w, int64_t panel, int64_t begin,
                           const Finish& finish) {
  const int64_t groups = groups_of(w), column = panel * 16, first = block * BYTES_MC;
  const int valid = static_cast<int>(least<int64_t>(16, w.n - column));
  const int8_t* weights = w.panels + panel * groups * 16 * BYTES_GROUP;
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
  for (int64_t at = 0; at < count; at++) __builtin_prefetch(finish.out + (begin + at) * finish.stride + column, 1);
  i32v whole[BYTES_MC][2];
  f32v sums[BYTES_MC][2];
  const auto tiles = [&](auto step) {
    for (int64_t at = 0; at < count; at += BYTES_TILE)
      by_rows(static_cast<int>(least(BYTES_TILE, count - at)), [&](auto rows) { step(rows, first + at, at); });
  };
  tiles([&](auto rows, int64_t row, int64_t at) {
    byte_tile<rows.value>(x.q + row * x.depth, x.depth, weights, groups, whole + at);
  });
  for (int64_t at = 0; at < count; at++) {
    const float step = x.scale[first + at], zero = x.zero[first + at];
    for (int half = 0; half < 2; half++) sums[at][half] = (to_float(whole[at][half]) - zero * sum[half]) * step;
  }
  const Apart* ordered = x.ordered + first * APART_MOST;
  for (int32_t i = 0; i < x.count[block]; i++) {
    const Apart large = ordered[i];
    for (int half = 0; half < 2; half++) sums[large.row][half] += large.value * bytes_at(weights, large, half);
  }
  tiles([&](auto rows, int64_t row, int64_t at) {
    outlier_tile<rows.value>(x.columns + row * w.outliers, w.outliers, apart, apart_stride, scale, sums + at);
  });
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
    for (int64_t panel = first; panel < beyond; panel++) multiply_bytes(rows, task % blocks, count, w, panel, begin, finish);
  });
}

}  // namespace ENFOLD_ISA
