// out = x Wᵀ of float32: x (M, K) and W (N, K) as files hold it, row by row.
//
// Of more than a few rows of x, sixteen (of the last ones eight) are transposed into a panel (K, 16), which every row of
// W is multiplied with: numbers of W are broadcast as they lie there, so that it is never transposed. Along K the work is
// cut so that sixteen rows of W, copied where several panels need them, and a panel stay in a thread's first cache, and
// along M so that the panels stay in its second. Up to three rows of x are multiplied as they are: tiles are then 4 rows
// of W, and sums run along K.
#pragma once

#include "buffer.h"
#include "epilogue.h"
#include "pool.h"

namespace ENFOLD_ISA {

constexpr int64_t FLOAT_KC = 256, FLOAT_MC = 256, FLOAT_FEW = 3, FLOAT_GROUP = 6;
constexpr int64_t FLOAT_LINE = 16;  // numbers of a line of the cache

// Sixteen rows of `depth` numbers side by side, (depth, 16), or eight; those of them that don't exist are zero.
inline void transpose_panel(const float* w, int64_t stride, int rows, int64_t depth, float* panel, int width = 16) {
  for (int64_t k = 0; k < depth; k += LANES) {
    const int count = static_cast<int>(least<int64_t>(LANES, depth - k));
    for (int first = 0; first < width; first += LANES) {
      f32v block[LANES];
      for (int i = 0; i < LANES; i++) {
        const float* at = w + (first + i) * stride + k;
        block[i] = first + i >= rows ? f32v{} : count == LANES ? load(at) : load_some(at, count);
      }
      transpose(block);
      for (int j = 0; j < count; j++) store(panel + (k + j) * width + first, block[j]);
    }
  }
}

// sums (ROWS, 8 · VECTORS) += x (ROWS, depth) times a panel (depth, 8 · VECTORS) whose rows are `panel_stride` apart
template <int ROWS, int VECTORS>
inline void float_tile(const float* x, int64_t stride, const float* panel, int64_t panel_stride, int64_t depth,
                       f32v (*sums)[VECTORS]) {
  f32v kept[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECTORS; j++) kept[i][j] = sums[i][j];
  const auto step = [&](int64_t k) {
    f32v line[VECTORS];
    for (int j = 0; j < VECTORS; j++) line[j] = load(panel + k * panel_stride + j * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; i++) {
      const f32v value = all(x[i * stride + k]);
      for (int j = 0; j < VECTORS; j++) kept[i][j] += value * line[j];
    }
  };
  int64_t k = 0;
  for (; k + FLOAT_LINE <= depth; k += FLOAT_LINE) {
    // the next rows: the processor itself looks ahead along one row only, and not beyond a page
    for (int i = 0; i < ROWS; i++) __builtin_prefetch(x + (ROWS + i) * stride + k);
    for (int64_t j = 0; j < FLOAT_LINE; j++) step(k + j);
  }
  for (; k < depth; k++) step(k);
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < VECTORS; j++) sums[i][j] = kept[i][j];
}

// The same for up to six rows.
template <int VECTORS>
inline void float_rows(int rows, const float* x, int64_t stride, const float* panel, int64_t panel_stride, int64_t depth,
                       f32v (*sums)[VECTORS]) {
  by_rows(rows, [&](auto count) { float_tile<count.value, VECTORS>(x, stride, panel, panel_stride, depth, sums); });
}

// Rows of numbers as they lie in memory, eight at a time; `scale` is what those of row k are yet to be multiplied by.
struct FloatLines {
  const float* data;
  int64_t stride;

  f32v eight(int64_t k, int64_t i) const { return load(data + k * stride + i); }
  float one(int64_t k, int64_t i) const { return data[k * stride + i]; }
  float scale(int64_t) const { return 1.f; }
};

// dots (ROWS, count) of rows of x with the first `count` of such lines; rows of dots are `dots_stride` apart
template <int ROWS, typename Lines>
inline void line_dots(const float* x, int64_t x_stride, const Lines& lines, int64_t count, int64_t depth, float* dots,
                      int64_t dots_stride) {
  constexpr int TOGETHER = 4;
  const int some = static_cast<int>(least<int64_t>(TOGETHER, count));  // of fewer than four, the first fills up
  for (int64_t first = 0; first < count; first += TOGETHER) {
    const int64_t begin = most<int64_t>(0, least(first, count - TOGETHER));  // the last ones may be some of those before
    f32v sums[ROWS][TOGETHER] = {};
    int64_t i = 0;
    for (; i + LANES <= depth; i += LANES) {
      f32v line[TOGETHER];
#pragma GCC unroll 4
      for (int j = 0; j < TOGETHER; j++) line[j] = lines.eight(begin + (j < some ? j : 0), i);
#pragma GCC unroll 3
      for (int row = 0; row < ROWS; row++) {
        const f32v value = load(x + row * x_stride + i);
#pragma GCC unroll 4
        for (int j = 0; j < TOGETHER; j++) sums[row][j] += value * line[j];
      }
    }
    for (int j = 0; j < some; j++) {
      const float scale = lines.scale(begin + j);
      for (int row = 0; row < ROWS; row++) {
        float total = sum(sums[row][j]);
        for (int64_t rest = i; rest < depth; rest++) total += x[row * x_stride + rest] * lines.one(begin + j, rest);
        dots[row * dots_stride + begin + j] = total * scale;
      }
    }
  }
}

// The same for up to three rows of x.
template <typename Lines>
inline void few_dots(int rows, const float* x, int64_t x_stride, const Lines& lines, int64_t count, int64_t depth,
                     float* dots, int64_t dots_stride) {
  if (rows == 3) line_dots<3>(x, x_stride, lines, count, depth, dots, dots_stride);
  else if (rows == 2) line_dots<2>(x, x_stride, lines, count, depth, dots, dots_stride);
  else line_dots<1>(x, x_stride, lines, count, depth, dots, dots_stride);
}

inline void gemm_few(const float* x, int64_t m, int64_t k, const float* w, int64_t n, const Finish& finish) {
  // sixteen columns are a part's grain, so that the epilogue is the one of the tiles
  parallel_range((n + 15) / 16, most<int64_t>(1, 4096 / most<int64_t>(1, k)), [&](int64_t first, int64_t last) {
    for (int64_t panel = first; panel < last; panel++) {
      const int64_t column = panel * 16;
      const int valid = static_cast<int>(least<int64_t>(16, n - column));
      for (int64_t row = 0; row < m; row += 3) {
        const int rows = static_cast<int>(least<int64_t>(3, m - row));
        f32v found[3][2] = {};
        few_dots(rows, x + row * k, k, FloatLines{w + column * k, k}, valid, k, reinterpret_cast<float*>(found), 16);
        write(finish, row, rows, column, valid, found);
      }
    }
  });
}

// Rows of x as panels, a part of K after another.
struct FloatPanels {
  int64_t rows, padded, k, depth;  // `padded`: rows of all panels; `depth`: of a part of K
  float* memory;

  int64_t count() const { return (padded + 15) / 16; }
  int width(int64_t panel) const { return static_cast<int>(least<int64_t>(16, padded - panel * 16)); }
  // numbers from `at` of K on, (depth, width)
  float* panel(int64_t index, int64_t at) const {
    return memory + at * padded + index * 16 * least(depth, k - at);
  }
};

inline FloatPanels float_panels(const float* x, int64_t m, int64_t k) {
  static thread_local Buffer<float> buffer;
  const int64_t padded = (m + LANES - 1) / LANES * LANES;
  // one panel is read with as much of W in a row as there is
  const int64_t parts = padded <= 16 ? 1 : (k + FLOAT_KC - 1) / FLOAT_KC;
  const int64_t depth = ((k + parts - 1) / parts + LANES - 1) / LANES * LANES;
  const FloatPanels panels{m, padded, k, depth, buffer.of(padded * k)};
  const int64_t grain = most<int64_t>(1, 4096 / k);
  parallel_range(panels.count(), grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++)
      for (int64_t at = 0; at < k; at += depth)
        transpose_panel(x + i * 16 * k + at, k, static_cast<int>(least<int64_t>(16, m - i * 16)), least(depth, k - at),
                        panels.panel(i, at), panels.width(i));
  });
  return panels;
}

// sums (rows of W, width) += up to sixteen rows of W times a panel
template <int VECTORS>
inline void multiply_panel(const float* w, int64_t stride, int rows, const float* panel, int64_t depth, float* sums) {
  constexpr int TILE = VECTORS == 2 ? 6 : 4;
  for (int row = 0; row < rows; row += TILE)
    float_rows<VECTORS>(least(TILE, rows - row), w + row * stride, stride, panel, VECTORS * LANES, depth,
                        reinterpret_cast<f32v(*)[VECTORS]>(sums + row * VECTORS * LANES));
}

// Up to sixteen rows of W with all panels, from `at` of K on. Where that pays, W is copied first: rows that are a multiple
// of half a page apart push each other out of the first cache. Meanwhile the next sixteen are asked for.
inline void multiply_strip(const float* w, int rows, const FloatPanels& x, int64_t at, float* copy, float* sums) {
  const int64_t depth = least(x.depth, x.k - at), count = x.count();
  const bool copied = count > 4 || (count > 1 && x.k % 512 == 0);
  const float* from = w + at;
  if (copied) {
    for (int row = 0; row < rows; row++) std::memcpy(copy + row * depth, from + row * x.k, depth * sizeof(float));
    from = copy;
  }
  for (int64_t panel = 0; panel < count; panel++) {
    if (copied)
      for (int64_t row = panel; row < rows; row += count)
        for (int64_t k = 0; k < depth; k += FLOAT_LINE) __builtin_prefetch(w + (16 + row) * x.k + at + k);
    const auto multiply = x.width(panel) == 16 ? multiply_panel<2> : multiply_panel<1>;
    multiply(from, copied ? depth : x.k, rows, x.panel(panel, at), depth, sums + panel * 256);
  }
}

// Sums (16, width) of a panel become `width` rows of the result.
inline void write_panel(const Finish& finish, int64_t row, int64_t rows, int64_t column, int valid, const float* sums,
                        int width) {
  for (int first = 0; first < width; first += LANES) {
    f32v low[LANES], high[LANES], lines[LANES][2];
    for (int i = 0; i < LANES; i++)
      low[i] = load(sums + i * width + first), high[i] = load(sums + (i + LANES) * width + first);
    transpose(low), transpose(high);
    for (int i = 0; i < LANES; i++) lines[i][0] = low[i], lines[i][1] = high[i];
    const int some = static_cast<int>(least<int64_t>(LANES, rows - first));
    if (some > 0) write(finish, row + first, some, column, valid, lines);
  }
}

inline void gemm_float(const float* x, int64_t m, int64_t k, const float* w, int64_t n, const Finish& finish) {
  if (m <= FLOAT_FEW || k == 0) return gemm_few(x, m, k, w, n, finish);
  const int64_t strips = (n + 15) / 16;
  const int64_t group = most<int64_t>(1, least(FLOAT_GROUP, strips / (8 * threads())));
  for (int64_t begin = 0; begin < m; begin += FLOAT_MC) {
    const FloatPanels panels = float_panels(x + begin * k, least(FLOAT_MC, m - begin), k);
    parallel(static_cast<int>((strips + group - 1) / group), [&](int task) {
      static thread_local Buffer<float> sums_buffer, copy_buffer;
      const int64_t first = task * group, last = least(strips, first + group), room = panels.padded * 16;
      float *sums = sums_buffer.of(FLOAT_GROUP * FLOAT_MC * 16), *copy = copy_buffer.of(16 * FLOAT_KC);
      const auto valid = [&](int64_t strip) { return static_cast<int>(least<int64_t>(16, n - strip * 16)); };
      std::memset(sums, 0, (last - first) * room * sizeof(float));
      for (int64_t at = 0; at < k; at += panels.depth)
        for (int64_t strip = first; strip < last; strip++)
          multiply_strip(w + strip * 16 * k, valid(strip), panels, at, copy, sums + (strip - first) * room);
      for (int64_t strip = first; strip < last; strip++)
        for (int64_t panel = 0; panel < panels.count(); panel++)
          write_panel(finish, begin + panel * 16, least<int64_t>(16, panels.rows - panel * 16), strip * 16, valid(strip),
                      sums + (strip - first) * room + panel * 256, panels.width(panel));
    });
  }
}

}  // namespace ENFOLD_ISA
