// What is done to whole rows: where a sublayer's result meets the residual stream, addition and norms in one pass; the
// softmax of scores, and the highest of them.
#pragma once

#include "buffer.h"
#include "kernels.h"
#include "maths.h"
#include "pool.h"

namespace ENFOLD_ISA {

// The norm of `width` numbers: (x - mean) / √(variance + eps) · weight + bias, or x / √(mean of squares + eps) · weight.
inline void norm_row(const float* x, float* out, int64_t width, const NormWeights& norm) {
  f32v total{};
  float rest = 0;
  int64_t i = 0;
  float mean = 0;
  if (norm.bias) {
    for (; i + LANES <= width; i += LANES) total += load(x + i);
    for (; i < width; i++) rest += x[i];
    mean = (sum(total) + rest) / width;
  }
  f32v squares{};
  rest = 0;
  for (i = 0; i + LANES <= width; i += LANES) {
    const f32v value = load(x + i) - mean;
    squares += value * value;
  }
  for (; i < width; i++) rest += (x[i] - mean) * (x[i] - mean);
  const float factor = 1.f / __builtin_sqrtf((sum(squares) + rest) / width + norm.eps);
  for (i = 0; i + LANES <= width; i += LANES) {
    f32v value = (load(x + i) - mean) * factor * load(norm.weight + i);
    if (norm.bias) value += load(norm.bias + i);
    store(out + i, value);
  }
  for (; i < width; i++) out[i] = (x[i] - mean) * factor * norm.weight[i] + (norm.bias ? norm.bias[i] : 0.f);
}

// total = the sum of the terms (rows, width); each norm of it into its own output. `total` may be null with one norm.
inline void join(const Joined& joined) {
  const int64_t width = joined.width;
  const int64_t grain = 8192 / (width < 1 ? 1 : width) + 1;
  parallel_range(joined.rows, grain, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
      const int64_t at = row * width;
      float* to = joined.total ? joined.total + at : joined.out[0] + at;
      int64_t i = 0;
      for (; i + LANES <= width; i += LANES) {
        f32v value = load(joined.terms[0] + at + i);
        for (int term = 1; term < joined.term_count; term++) value += load(joined.terms[term] + at + i);
        store(to + i, value);
      }
      for (; i < width; i++) {
        float value = joined.terms[0][at + i];
        for (int term = 1; term < joined.term_count; term++) value += joined.terms[term][at + i];
        to[i] = value;
      }
      for (int norm = 0; norm < joined.norm_count; norm++) norm_row(to, joined.out[norm] + at, width, joined.norms[norm]);
    }
  });
}

// Each row (n) becomes the logarithms of its softmax. A row of -inf alone stays; one with NaN or +inf becomes NaN.
inline void log_softmax(float* rows, int64_t m, int64_t n) {
  const float lost = -__builtin_inff();
  parallel_range(m, most<int64_t>(1, 32768 / most<int64_t>(1, n)), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++) {
      float* x = rows + row * n;
      const auto at = [&](int64_t i) {  // beyond the end is -inf, which changes nothing
        if (i + LANES <= n) return load(x + i);
        f32v value = all(lost);
        std::memcpy(&value, x + i, (n - i) * sizeof(float));
        return value;
      };
      f32v tops = all(lost), bad{};
      for (int64_t i = 0; i < n; i += LANES) {
        const f32v value = at(i);
        tops = max(tops, value);
        bad += value == value ? all(0.f) : value;
      }
      const float top = highest(tops);
      if (top == lost && sum(bad) == 0) continue;
      f32v total{};
      for (int64_t i = 0; i < n; i += LANES) total += exp(at(i) - top);
      const float shift = __builtin_logf(sum(total) + sum(bad));
      for (int64_t i = 0; i < n; i += LANES)
        if (const f32v value = at(i) - top - shift; i + LANES <= n) store(x + i, value);
        else store_some(x + i, value, static_cast<int>(n - i));
    }
  });
}

// NaN comes first.
inline bool higher(float a, float b) { return a > b || (a != a && b == b); }

// The `count` highest of n numbers, the highest first, of equal ones the first, and where they are. count is at most n.
inline void highest_of_row(const float* x, int64_t n, int64_t count, float* values, int64_t* places) {
  int64_t held = 0;
  const auto offer = [&](int64_t i) {
    if (held == count && !higher(x[i], values[count - 1])) return;
    int64_t at = held < count ? held++ : count - 1;
    for (; at > 0 && higher(x[i], values[at - 1]); at--) values[at] = values[at - 1], places[at] = places[at - 1];
    values[at] = x[i], places[at] = i;
  };
  int64_t i = 0;
  for (; i < count; i++) offer(i);
  constexpr int TOGETHER = 4 * LANES;
  for (; i + TOGETHER <= n; i += TOGETHER) {
    const f32v lowest = all(values[count - 1]);
    unsigned more = 0;  // a bit for each number that is not below or equal
    for (int part = 0; part < 4; part++) more |= (places_where(load(x + i + part * LANES) <= lowest) ^ 0xffu) << part * LANES;
    for (; more; more &= more - 1) offer(i + __builtin_ctz(more));
  }
  for (; i < n; i++) offer(i);
}

// The same of each row (n): values and places are (m, count).
inline void highest_of_rows(const float* rows, int64_t m, int64_t n, int64_t count, float* values, int64_t* places) {
  if (count == 0) return;
  parallel_range(m, most<int64_t>(1, 65536 / most<int64_t>(1, n)), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++)
      highest_of_row(rows + row * n, n, count, values + row * count, places + row * count);
  });
}

}  // namespace ENFOLD_ISA
