// softmax(scale · Q Kᵀ + bias) V of each sequence over its keys.
//
// A task is some queries of one sequence and one head of keys; the heads that share keys are more queries. Keys come in
// blocks, so that no row of scores is ever longer than a block: what was summed under an earlier, lower maximum is scaled
// down when a higher one is met (https://arxiv.org/abs/1805.02867).
#pragma once

#include "buffer.h"
#include "gemm_float.h"

namespace ENFOLD_ISA {

constexpr int64_t ATTEND_ROWS = 48, ATTEND_KEYS = 128, ATTEND_FEW = 3, KEYS_AHEAD = 16;

// What one task needs in between.
struct AttendMemory {
  Buffer<float> query, panels, scores, tail, sums, state, decoded;
};

// A key or value of a cache of bytes: q = nearest(x · 127 / largest), scale = largest / 127, NaN where a number is none.
inline void encode_key(const float* key, int64_t size, int8_t* stored) {
  const auto at = [&](int64_t i) { return i + LANES <= size ? load(key + i) : load_some(key + i, static_cast<int>(size - i)); };
  f32v tops{}, none{};
  for (int64_t i = 0; i < size; i += LANES) {
    const f32v value = at(i);
    tops = max(tops, magnitude(value));
    none += value - value;  // zero, or NaN
  }
  const float top = highest(tops), wrong = sum(none);
  const float inverse = top > 1e-36f && wrong == 0 ? 127.f / top : 0.f, scale = wrong == 0 ? top / 127.f : wrong;
  for (int64_t i = 0; i < size; i += LANES) {
    const i32v whole = wrong == 0 ? nearest(at(i) * inverse) : i32v{};
    for (int64_t k = i; k < least(size, i + LANES); k++) stored[k] = static_cast<int8_t>(whole[k - i]);
  }
  std::memcpy(stored + size, &scale, sizeof(scale));
}

// Keys or values of a cache of bytes as they lie, read as FloatLines are.
struct ByteLines {
  const int8_t* data;
  int64_t stride;

  f32v eight(int64_t k, int64_t i) const { return load_signed(data + k * stride + i); }
  float one(int64_t k, int64_t i) const { return static_cast<float>(data[k * stride + i]); }
  float scale(int64_t k) const {
    for (int64_t i = 0; i < stride; i += 64) __builtin_prefetch(data + (k + KEYS_AHEAD) * stride + i);
    float scale;
    std::memcpy(&scale, data + (k + 1) * stride - KEY_SCALE, sizeof(scale));
    return scale;
  }
};

// sums (VECTORS · 8) += weights (count) times that many numbers of each value, from `at` on
template <int VECTORS, typename Keys>
inline void mix_some(const Keys& values, int64_t count, const float* weights, int64_t at, float* sums) {
  f32v kept[VECTORS];
  for (int j = 0; j < VECTORS; j++) kept[j] = load(sums + j * LANES);
  for (int64_t k = 0; k < count; k++) {
    const f32v weight = all(weights[k]);
#pragma GCC unroll 8
    for (int j = 0; j < VECTORS; j++) kept[j] += weight * values.eight(k, at + j * LANES);
  }
  for (int j = 0; j < VECTORS; j++) store(sums + j * LANES, kept[j]);
}

// sums (size) += weights (count), which are used up, times values (count, size)
template <typename Keys>
inline void mix_values(const Keys& values, int64_t count, float* weights, int64_t size, float* sums) {
  for (int64_t k = 0; k < count; k++) weights[k] *= values.scale(k);
  int64_t at = 0;
  for (; at + 8 * LANES <= size; at += 8 * LANES) mix_some<8>(values, count, weights, at, sums + at);
  for (; at + 4 * LANES <= size; at += 4 * LANES) mix_some<4>(values, count, weights, at, sums + at);
  for (; at + LANES <= size; at += LANES) mix_some<1>(values, count, weights, at, sums + at);
  for (int64_t k = 0; k < count && at < size; k++)
    for (int64_t i = at; i < size; i++) sums[i] += weights[k] * values.one(k, i);
}

// `count` keys or values from `first` on, for many queries: floats, made of bytes where they are bytes.
inline FloatLines float_keys(const Attention& a, const void* all, int64_t first, int64_t count, AttendMemory& memory) {
  if (!a.bytes) return {static_cast<const float*>(all) + first, a.key_stride};
  const ByteLines from{static_cast<const int8_t*>(all) + first, a.key_stride};
  float* to = memory.decoded.of(ATTEND_KEYS * a.size);
  for (int64_t k = 0; k < count; k++) {
    const float scale = from.scale(k);
    int64_t i = 0;
    for (; i + LANES <= a.size; i += LANES) store(to + k * a.size + i, from.eight(k, i) * scale);
    for (; i < a.size; i++) to[k * a.size + i] = from.one(k, i) * scale;
  }
  return {to, a.size};
}

// Calls body(keys) for few queries, with keys as they lie in memory.
template <typename Body>
inline void as_they_lie(const Attention& a, const void* all, int64_t first, const Body& body) {
  if (a.bytes) body(ByteLines{static_cast<const int8_t*>(all) + first, a.key_stride});
  else body(FloatLines{static_cast<const float*>(all) + first, a.key_stride});
}

// Scores (rows, count) of a block; rows of the result are ATTEND_KEYS apart.
inline void attend_scores(const Attention& a, const float* query, int64_t rows, int64_t at, int64_t count,
                          AttendMemory& memory, float* scores) {
  if (rows <= ATTEND_FEW)
    return as_they_lie(a, a.keys, at, [&](const auto& keys) {
      few_dots(static_cast<int>(rows), query, a.size, keys, count, a.size, scores, ATTEND_KEYS);
    });
  const FloatLines keys = float_keys(a, a.keys, at, count, memory);
  float* panel = memory.panels.of(a.size * 16);
  for (int64_t first = 0; first < count; first += 16) {
    transpose_panel(keys.data + first * keys.stride, keys.stride, static_cast<int>(least<int64_t>(16, count - first)),
                    a.size, panel);
    for (int64_t row = 0; row < rows; row += 6) {
      const int some = static_cast<int>(least<int64_t>(6, rows - row));
      f32v sums[6][2] = {};
      float_rows(some, query + row * a.size, a.size, panel, 16, a.size, sums);
      for (int i = 0; i < some; i++) {
        store(scores + (row + i) * ATTEND_KEYS + first, sums[i][0]);
        store(scores + (row + i) * ATTEND_KEYS + first + LANES, sums[i][1]);
      }
    }
  }
}

// sums += weights (rows, count) of a block times its values. Sums are [slice of 16 numbers][row][16], of few rows
// [row][slice][16].
inline void attend_values(const Attention& a, int64_t rows, int64_t at, int64_t count, AttendMemory& memory, float* weights,
                          f32v (*sums)[2]) {
  const int64_t slices = (a.size + 15) / 16;
  if (rows <= ATTEND_FEW)
    return as_they_lie(a, a.values, at, [&](const auto& values) {
      for (int64_t row = 0; row < rows; row++)
        mix_values(values, count, weights + row * ATTEND_KEYS, a.size, reinterpret_cast<float*>(sums + row * slices));
    });
  const FloatLines values = float_keys(a, a.values, at, count, memory);
  for (int64_t slice = 0; slice < slices; slice++) {
    const float* panel = values.data + slice * 16;
    int64_t stride = values.stride;
    const int64_t width = a.size - slice * 16;
    if (width < 16) {  // what lies beyond a head's numbers may not be read
      float* tail = memory.tail.of(ATTEND_KEYS * 16);
      std::memset(tail, 0, count * 16 * sizeof(float));
      for (int64_t k = 0; k < count; k++) std::memcpy(tail + k * 16, panel + k * stride, width * sizeof(float));
      panel = tail, stride = 16;
    }
    for (int64_t row = 0; row < rows; row += 6)
      float_rows(static_cast<int>(least<int64_t>(6, rows - row)), weights + row * ATTEND_KEYS, ATTEND_KEYS, panel, stride,
                 count, sums + slice * rows + row);
  }
}

// e^(scores - highest) in place, for `count` keys; returns their sum. What is beyond `count` becomes zero.
inline float attend_weigh(float* scores, int64_t count, float* highest_so_far, float* scale) {
  const float lost = -__builtin_inff();
  for (int64_t k = count; k % LANES; k++) scores[k] = lost;
  f32v top = all(*highest_so_far);
  for (int64_t k = 0; k < count; k += LANES) top = max(top, load(scores + k));
  const float before = *highest_so_far, now = highest(top), from = now == lost ? 0.f : now;
  *scale = before == lost ? 0.f : exp(all(before - from))[0];
  *highest_so_far = now;
  f32v total{};
  for (int64_t k = 0; k < count; k += LANES) {
    const f32v weight = exp(load(scores + k) - from);
    store(scores + k, weight);
    total += weight;
  }
  return sum(total);
}

inline void attend_task(const Attention& a, int64_t sequence, int64_t head, int64_t first_row, AttendMemory& memory) {
  const int64_t groups = a.heads / a.kv_heads, count = a.count[sequence], length = a.length[sequence];
  const int64_t rows = least(ATTEND_ROWS, count * groups - first_row), slices = (a.size + 15) / 16;
  const int64_t own = a.offset[sequence] + head * a.head_stride;  // where its keys begin
  float* query = memory.query.of(ATTEND_ROWS * a.size);
  float* scores = memory.scores.of(ATTEND_ROWS * ATTEND_KEYS);
  auto* sums = reinterpret_cast<f32v(*)[2]>(memory.sums.of(slices * ATTEND_ROWS * 16));
  const auto sum_of = [&](int64_t row, int64_t slice) { return rows <= ATTEND_FEW ? row * slices + slice : slice * rows + row; };
  float *highest_of = memory.state.of(2 * ATTEND_ROWS), *total_of = highest_of + ATTEND_ROWS;
  std::memset(sums, 0, slices * rows * sizeof(*sums));
  int64_t begin = 0, end = length;  // keys that any of the queries sees
  for (int64_t row = 0; row < rows; row++) {
    const int64_t place = (first_row + row) / groups, group = (first_row + row) % groups;
    const float* from = a.query + (a.begin[sequence] + place) * a.query_stride + (head * groups + group) * a.size;
    for (int64_t i = 0; i < a.size; i++) query[row * a.size + i] = from[i] * a.scale;
    highest_of[row] = -__builtin_inff(), total_of[row] = 0;
  }
  if (a.causal) {
    const int64_t first_place = length - count + first_row / groups;
    end = least(length, length - count + (first_row + rows - 1) / groups + 1);
    if (a.window) begin = most<int64_t>(0, first_place - a.window + 1);
  }
  for (int64_t key = begin; key < end; key += ATTEND_KEYS) {
    const int64_t some = least(ATTEND_KEYS, end - key);
    attend_scores(a, query, rows, own + key * a.key_stride, some, memory, scores);
    for (int64_t row = 0; row < rows; row++) {
      const int64_t place = (first_row + row) / groups, group = (first_row + row) % groups;
      float* line = scores + row * ATTEND_KEYS;
      if (a.bias) {
        const float* bias = a.bias + sequence * a.bias_sequence + (head * groups + group) * a.bias_head +
                            place * a.bias_row + key;
        for (int64_t k = 0; k < some; k++) line[k] += bias[k];
      }
      if (a.causal) {
        const int64_t last = length - count + place;
        for (int64_t k = most<int64_t>(0, last + 1 - key); k < some; k++) line[k] = -__builtin_inff();
        if (a.window)
          for (int64_t k = 0; k < least(some, last - a.window + 1 - key); k++) line[k] = -__builtin_inff();
      }
      float scale;
      const float total = attend_weigh(line, some, &highest_of[row], &scale);
      total_of[row] = total_of[row] * scale + total;
      if (scale != 1.f)
        for (int64_t slice = 0; slice < slices; slice++)
          for (int half = 0; half < 2; half++) sums[sum_of(row, slice)][half] *= scale;
    }
    attend_values(a, rows, own + key * a.key_stride, some, memory, scores, sums);
  }
  for (int64_t row = 0; row < rows; row++) {
    const int64_t place = (first_row + row) / groups, group = (first_row + row) % groups;
    float* to = a.out + (a.begin[sequence] + place) * a.heads * a.size + (head * groups + group) * a.size;
    const float inverse = 1.f / total_of[row];
    for (int64_t slice = 0; slice < slices; slice++)
      for (int half = 0; half < 2; half++) {
        const int64_t at = slice * 16 + half * LANES;
        const f32v value = sums[sum_of(row, slice)][half] * inverse;
        if (at + LANES <= a.size) store(to + at, value);
        else if (at < a.size) store_some(to + at, value, static_cast<int>(a.size - at));
      }
  }
}

inline void attend(const Attention& a) {
  static thread_local Buffer<int64_t> edges;
  int64_t* tasks = edges.of(a.sequences + 1);  // how many tasks come before each sequence
  tasks[0] = 0;
  for (int64_t i = 0; i < a.sequences; i++) {
    const int64_t rows = a.count[i] * (a.heads / a.kv_heads);
    tasks[i + 1] = tasks[i] + a.kv_heads * ((rows + ATTEND_ROWS - 1) / ATTEND_ROWS);
  }
  const int64_t total = tasks[a.sequences], together = most<int64_t>(1, total / 65536);
  parallel(static_cast<int>((total + together - 1) / together), [&](int part) {
    static thread_local AttendMemory memory;
    for (int64_t task = part * together; task < least(total, (part + 1) * together); task++) {
      int64_t low = 0, high = a.sequences;  // the last sequence that begins at or before this task
      while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        (tasks[middle] <= task ? low : high) = middle;
      }
      const int64_t within = task - tasks[low];
      attend_task(a, low, within % a.kv_heads, within / a.kv_heads * ATTEND_ROWS, memory);
    }
  });
}

// Queries or keys (T, heads · size), rows `stride` apart, turned in place by the angles of their tokens: the first
// `turned` numbers of each head by cosines and sines (T, turned) whose sines' first half is negative.
inline void rotate(float* x, int64_t tokens, int64_t stride, int64_t heads, int64_t size, const float* cosines,
                   const float* sines, int64_t turned) {
  parallel_range(tokens, most<int64_t>(1, 8192 / most<int64_t>(1, heads * size)), [&](int64_t first, int64_t last) {
    for (int64_t token = first; token < last; token++)
      for (int64_t head = 0; head < heads; head++) {
        float *low = x + token * stride + head * size, *high = low + turned / 2;
        const float *c = cosines + token * turned, *s = sines + token * turned;
        int64_t i = 0;
        for (; i + LANES <= turned / 2; i += LANES) {
          const f32v a = load(low + i), b = load(high + i);
          store(low + i, a * load(c + i) + b * load(s + i));
          store(high + i, b * load(c + turned / 2 + i) + a * load(s + turned / 2 + i));
        }
        for (; i < turned / 2; i++) {
          const float a = low[i], b = high[i];
          low[i] = a * c[i] + b * s[i];
          high[i] = b * c[turned / 2 + i] + a * s[turned / 2 + i];
        }
      }
  });
}

}  // namespace ENFOLD_ISA
