// out = x Wᵀ of float32: x (M, K) and W (N, K) as files hold it, row by row.
//
// With many rows of x a thread transposes sixteen rows of W at a time into a buffer (KC, 16) that stays in its first
// cache, and goes over all its rows of x in tiles of 6 x 16. With few rows that would cost more than the product: there
// tiles are 4 rows of W, read once and in order, and sums run along K.
#pragma once


#include "buffer.h"
#include "epilogue.h"
#include "pool.h"

namespace ENFOLD_ISA {

constexpr int64_t FLOAT_KC = 512, FLOAT_MC = 384, FLOAT_FEW = 16;

// Sixteen rows of `depth` numbers side by side, (depth, 16); those of them that don't exist are zero.
inline void transpose_panel(const float* w, int64_t stride, int rows, int64_t depth, float* panel) {
  for (int64_t k = 0; k < depth; k += LANES) {
    const int count = static_cast<int>(least<int64_t>(LANES, depth - k));
    for (int half = 0; half < 2; half++) {
      f32v block[LANES];
      for (int i = 0; i < LANES; i++) {
        const int row = half * LANES + i;
        const float* at = w + row * stride + k;
        block[i] = row >= rows ? f32v{} : count == LANES ? load(at) : load_some(at, count);
      }
      transpose(block);
      for (int j = 0; j < count; j++) store(panel + (k + j) * 2 * LANES + half * LANES, block[j]);
    }
  }
}

// sums (ROWS, 16) += x (ROWS, depth) times a panel (depth, 16) whose rows are `panel_stride` apart
template <int ROWS>
inline void float_tile(const float* x, int64_t stride, const float* panel, int64_t panel_stride, int64_t depth,
                       f32v (*sums)[2]) {
  f32v low[ROWS], high[ROWS];
  for (int i = 0; i < ROWS; i++) low[i] = sums[i][0], high[i] = sums[i][1];
  for (int64_t k = 0; k < depth; k++) {
    const f32v a = load(panel + k * panel_stride), b = load(panel + k * panel_stride + LANES);
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++) {
      const f32v value = all(x[i * stride + k]);
      low[i] += value * a;
      high[i] += value * b;
    }
  }
  for (int i = 0; i < ROWS; i++) sums[i][0] = low[i], sums[i][1] = high[i];
}

inline void float_rows(int rows, const float* x, int64_t stride, const float* panel, int64_t panel_stride, int64_t depth,
                       f32v (*sums)[2]) {
  switch (rows) {
    case 6: return float_tile<6>(x, stride, panel, panel_stride, depth, sums);
    case 5: return float_tile<5>(x, stride, panel, panel_stride, depth, sums);
    case 4: return float_tile<4>(x, stride, panel, panel_stride, depth, sums);
    case 3: return float_tile<3>(x, stride, panel, panel_stride, depth, sums);
    case 2: return float_tile<2>(x, stride, panel, panel_stride, depth, sums);
    default: return float_tile<1>(x, stride, panel, panel_stride, depth, sums);
  }
}

// dots (ROWS, 4) of rows of x with four rows of W
template <int ROWS>
inline void float_dots(const float* x, int64_t x_stride, const float* w, int64_t stride, int64_t depth, float (*dots)[4]) {
  f32v sums[ROWS][4] = {};
  int64_t k = 0;
  for (; k + LANES <= depth; k += LANES) {
    f32v columns[4];
    for (int j = 0; j < 4; j++) columns[j] = load(w + j * stride + k);
#pragma GCC unroll 3
    for (int i = 0; i < ROWS; i++) {
      const f32v value = load(x + i * x_stride + k);
#pragma GCC unroll 4
      for (int j = 0; j < 4; j++) sums[i][j] += value * columns[j];
    }
  }
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < 4; j++) {
      float total = sum(sums[i][j]);
      for (int64_t rest = k; rest < depth; rest++) total += x[i * x_stride + rest] * w[j * stride + rest];
      dots[i][j] = total;
    }
}

// dots (rows, count) of up to three rows of x with `count` rows of W, each row of dots `dots_stride` apart
inline void few_dots(int rows, const float* x, int64_t x_stride, const float* w, int64_t stride, int64_t count,
                     int64_t depth, float* dots, int64_t dots_stride) {
  for (int64_t j = 0; j < count; j += 4) {
    // the last four may be some of those before again; of fewer than four rows each is taken four times
    const int64_t at = count < 4 ? j : least(j, count - 4);
    const int together = count < 4 ? 1 : 4;
    float found[3][4];
    const int64_t step = count < 4 ? 0 : stride;
    if (rows == 3) float_dots<3>(x, x_stride, w + at * stride, step, depth, found);
    else if (rows == 2) float_dots<2>(x, x_stride, w + at * stride, step, depth, found);
    else float_dots<1>(x, x_stride, w + at * stride, step, depth, found);
    for (int i = 0; i < rows; i++) std::memcpy(dots + i * dots_stride + at, found[i], together * sizeof(float));
    if (count < 4) j -= 3;
  }
}

inline void gemm_few(const float* x, int64_t m, int64_t k, const float* w, int64_t n, const Finish& finish) {
  // sixteen columns are a part's grain, so that the epilogue is the one of the tiles
  parallel_range((n + 15) / 16, most<int64_t>(1, 4096 / most<int64_t>(1, k)), [&](int64_t first, int64_t last) {
    for (int64_t panel = first; panel < last; panel++) {
      const int64_t column = panel * 16;
      const int valid = static_cast<int>(least<int64_t>(16, n - column));
      for (int64_t row = 0; row < m; row += 3) {
        const int rows = static_cast<int>(least<int64_t>(3, m - row));
        float found[3][16] = {};
        few_dots(rows, x + row * k, k, w + column * k, k, valid, k, found[0], 16);
        for (int i = 0; i < rows; i++) write(finish, row + i, column, valid, load(found[i]), load(found[i] + LANES));
      }
    }
  });
}

inline void gemm_float(const float* x, int64_t m, int64_t k, const float* w, int64_t n, const Finish& finish) {
  if (m <= FLOAT_FEW || k == 0) return gemm_few(x, m, k, w, n, finish);
  const int64_t panels = (n + 15) / 16, blocks = (m + FLOAT_MC - 1) / FLOAT_MC;
  const int64_t group = most<int64_t>(1, least<int64_t>(6, panels * blocks / (8 * threads())));
  const int64_t groups = (panels + group - 1) / group;
  parallel(static_cast<int>(groups * blocks), [&](int task) {
    const int64_t begin = task / groups * FLOAT_MC, end_row = least(m, begin + FLOAT_MC), count = end_row - begin;
    const int64_t tiles = (count + 5) / 6;
    static thread_local Buffer<float> panel_buffer, sums_buffer;
    float* buffer = panel_buffer.of(FLOAT_KC * 16);
    auto* sums = reinterpret_cast<f32v(*)[2]>(sums_buffer.of(FLOAT_MC * 16));
    for (int64_t panel = task % groups * group; panel < least(panels, task % groups * group + group); panel++) {
      const int64_t column = panel * 16;
      const int valid = static_cast<int>(least<int64_t>(16, n - column));
      std::memset(sums, 0, count * 16 * sizeof(float));
      for (int64_t at = 0; at < k; at += FLOAT_KC) {
        const int64_t depth = least(FLOAT_KC, k - at);
        transpose_panel(w + column * k + at, k, valid, depth, buffer);
        for (int64_t tile = 0; tile < tiles; tile++) {
          const int64_t row = tile * 6;
          float_rows(static_cast<int>(least<int64_t>(6, count - row)), x + (begin + row) * k + at, k, buffer, 16,
                     depth, sums + row);
        }
      }
      for (int64_t row = 0; row < count; row++) write(finish, begin + row, column, valid, sums[row][0], sums[row][1]);
    }
  });
}

}  // namespace ENFOLD_ISA
