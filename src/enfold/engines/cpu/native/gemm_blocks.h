// out = x Wᵀ where W is of small whole numbers in groups along K, each group of a row with a scale of its own:
// w = scale · q + offset, or scale · (q - zero) where the offset is a multiple of the scale.
//
// Sixteen rows of W are a panel. It is the sequence of its groups, and a group is
//
//   codes    [group / 4][16][4] bytes, or, of four bits, [group / 4][8][4] with rows 8 to 15 in the high halves
//   scale    [16] of float16
//   offset   [16] of float16, where there are offsets
//
// so that memory is read in order: at one row of x its speed is the product's. x becomes signed bytes in the same
// groups, with a scale and the sum of what the bytes say; the sum is what offsets are multiplied by. Up to six rows of
// x are a tile, whose groups are, one after another, codes [group / 4][rows][4], scales [rows] and sums [rows].
#pragma once

#include "buffer.h"
#include "epilogue.h"
#include "pool.h"

namespace ENFOLD_ISA {

constexpr int64_t BLOCKS_TILE = 6, BLOCKS_MC = 48;
constexpr int64_t BLOCKS_AHEAD = 3072;  // bytes that are asked for early: the processor itself stops at a page's end

// What the sums of a tile are kept in while a group lasts, by the bits of a code
template <int BITS>
struct CodeSum {
  i32v whole;
  void add(i32v codes, i32v x) {
    whole = BITS == 8 ? dot_signed(whole, codes, x) : dot_bytes(whole, codes, x);
    settle(whole);
  }
  i32v total() const { return whole; }
};
template <>
struct CodeSum<4> : ShortSum {};  // eight times two products: 8 · 2 · 15 · 127 < 2^15

template <int GROUP>
constexpr int64_t x_group_bytes(int64_t rows) {
  return rows * (GROUP + 2 * sizeof(float));
}

// A group of a row of x. Of one with NaN or infinity the scale is NaN, and so is every output of its row.
template <int GROUP>
inline void quantize_group(const float* x, int64_t rows, uint8_t* codes, uint8_t* scale, uint8_t* sum_of_group) {
  constexpr int PARTS = GROUP / LANES;
  f32v part[PARTS], top{}, bad{};
  for (int i = 0; i < PARTS; i++) {
    part[i] = load(x + i * LANES);
    top = max(top, magnitude(part[i])), bad += part[i] - part[i];
  }
  const float peak = highest(top), wrong = sum(bad);
  const bool usable = wrong == 0 && peak > 1e-30f;  // less is zero: its inverse would overflow
  const float inverse = usable ? 127.f / peak : 0.f, step = usable ? peak / 127.f : wrong;
  i32v total{};
  for (int i = 0; i < PARTS; i++) {
    const i32v value = usable ? nearest(part[i] * inverse) : i32v{};
    total += value;
    store_fours(codes + 2 * i * rows * 4, codes + (2 * i + 1) * rows * 4, value);
  }
  const float all_of_it = step * sum(to_float(total));
  std::memcpy(scale, &step, sizeof(float));
  std::memcpy(sum_of_group, &all_of_it, sizeof(float));
}

// Rows of x as tiles.
template <int GROUP>
inline const uint8_t* quantize_tiles(const float* x, int64_t m, int64_t k) {
  static thread_local Buffer<uint8_t> buffer;
  const int64_t groups = k / GROUP, tiles = (m + BLOCKS_TILE - 1) / BLOCKS_TILE;
  uint8_t* tile_memory = buffer.of(groups * x_group_bytes<GROUP>(m));
  parallel_range(tiles, most<int64_t>(1, 16384 / most<int64_t>(1, k * BLOCKS_TILE)), [&](int64_t first, int64_t last) {
    for (int64_t row = first * BLOCKS_TILE; row < least(m, last * BLOCKS_TILE); row++) {
      const int64_t begin = row / BLOCKS_TILE * BLOCKS_TILE, rows = least(BLOCKS_TILE, m - begin), i = row - begin;
      uint8_t* at = tile_memory + begin * groups * x_group_bytes<GROUP>(1);
      for (int64_t group = 0; group < groups; group++, at += x_group_bytes<GROUP>(rows)) {
        uint8_t* numbers = at + rows * GROUP + i * sizeof(float);
        quantize_group<GROUP>(x + row * k + group * GROUP, rows, at + i * 4, numbers, numbers + rows * sizeof(float));
      }
    }
  });
  return tile_memory;
}

inline float number_at(const uint8_t* at) {
  float number;
  std::memcpy(&number, at, sizeof(float));
  return number;
}

template <int BITS, int GROUP, int ROWS>
inline void block_tile(const BlockMatrix& w, const uint8_t* panel, const uint8_t* x, f32v (*sums)[2]) {
  const float zero = static_cast<float>(w.zero);
  f32v low[ROWS] = {}, high[ROWS] = {};
  for (int64_t group = 0; group < w.k / GROUP; group++) {
    for (int64_t line = 0; line < GROUP * 16 * (BITS == 4 ? 4 : 8) / 8 + 64; line += 64)
      __builtin_prefetch(panel + BLOCKS_AHEAD + line);
    CodeSum<BITS> first[ROWS] = {}, second[ROWS] = {};
#pragma GCC unroll 8
    for (int four = 0; four < GROUP / 4; four++) {
      i32v a = load_bytes(panel), b;
      if (BITS == 4) b = (a >> 4) & 0x0f0f0f0f, a &= 0x0f0f0f0f, panel += 32;
      else b = load_bytes(panel + 32), panel += 64;
#pragma GCC unroll 6
      for (int i = 0; i < ROWS; i++) {
        int32_t bytes;
        std::memcpy(&bytes, x + (four * ROWS + i) * 4, 4);
        const i32v value = all_i(bytes);
        first[i].add(a, value);
        second[i].add(b, value);
      }
    }
    const uint8_t *steps = x + ROWS * GROUP, *totals = steps + ROWS * sizeof(float);
    x += x_group_bytes<GROUP>(ROWS);
    const f32v scale_low = load_half(panel), scale_high = load_half(panel + 16);
    panel += 32;
    if (w.offsets) {
      const f32v offset_low = load_half(panel), offset_high = load_half(panel + 16);
      panel += 32;
#pragma GCC unroll 6
      for (int i = 0; i < ROWS; i++) {
        const float step = number_at(steps + i * sizeof(float)), total = number_at(totals + i * sizeof(float));
        low[i] += offset_low * total, high[i] += offset_high * total;
        low[i] += scale_low * (to_float(first[i].total()) * step);
        high[i] += scale_high * (to_float(second[i].total()) * step);
      }
    } else {
#pragma GCC unroll 6
      for (int i = 0; i < ROWS; i++) {
        const float step = number_at(steps + i * sizeof(float)), total = zero * number_at(totals + i * sizeof(float));
        low[i] += scale_low * (to_float(first[i].total()) * step - total);
        high[i] += scale_high * (to_float(second[i].total()) * step - total);
      }
    }
  }
  for (int i = 0; i < ROWS; i++) sums[i][0] = low[i], sums[i][1] = high[i];
}

template <int BITS, int GROUP>
inline void block_rows(int rows, const BlockMatrix& w, const uint8_t* panel, const uint8_t* x, f32v (*sums)[2]) {
  by_rows(rows, [&](auto count) { block_tile<BITS, GROUP, count.value>(w, panel, x, sums); });
}

inline int64_t code_bytes(const BlockMatrix& w) { return w.group * 16 * (w.bits == 4 ? 4 : 8) / 8; }
inline int64_t block_bytes(const BlockMatrix& w) { return code_bytes(w) + (w.offsets ? 64 : 32); }

template <int BITS, int GROUP>
inline void gemm_blocks_of(const float* x, int64_t m, const BlockMatrix& w, const Finish& finish) {
  const uint8_t* tiles = quantize_tiles<GROUP>(x, m, w.k);
  const int64_t groups = w.k / GROUP, panel_bytes = groups * block_bytes(w), panels = (w.n + 15) / 16;
  const int64_t blocks = (m + BLOCKS_MC - 1) / BLOCKS_MC;
  // of one row a task is at least what its start costs; of many their tiles stay in the second cache meanwhile
  const int64_t grain = m < BLOCKS_TILE ? most<int64_t>(1, 16384 / most<int64_t>(1, panel_bytes)) : 1;
  const int64_t share = panels * blocks / (4 * threads());
  const int64_t together = most(grain, least<int64_t>(share, m < BLOCKS_TILE ? share : 8));
  const int64_t shares = (panels + together - 1) / together;
  parallel(static_cast<int>(shares * blocks), [&](int task) {
    const int64_t begin = task % blocks * BLOCKS_MC, last = least(m, begin + BLOCKS_MC);
    const int64_t start = task / blocks * together, beyond = least(panels, start + together);
    for (int64_t panel = start; panel < beyond; panel++) {
      const int64_t column = panel * 16;
      const int valid = static_cast<int>(least<int64_t>(16, w.n - column));
      for (int64_t row = begin; row < last; row += BLOCKS_TILE) {
        const int count = static_cast<int>(least(BLOCKS_TILE, last - row));
        const uint8_t* tile = tiles + row * groups * x_group_bytes<GROUP>(1);
        f32v sums[BLOCKS_TILE][2];
        block_rows<BITS, GROUP>(count, w, w.panels + panel * panel_bytes, tile, sums);
        write(finish, row, count, column, valid, sums);
      }
    }
  });
}

inline void gemm_blocks(const float* x, int64_t m, const BlockMatrix& w, const Finish& finish) {
  if (w.bits == 4) return gemm_blocks_of<4, 32>(x, m, w, finish);
  if (w.bits == 8) return gemm_blocks_of<8, 32>(x, m, w, finish);
  if (w.group == 16) return gemm_blocks_of<6, 16>(x, m, w, finish);
  return gemm_blocks_of<6, 32>(x, m, w, finish);
}

// One row of W as float32, (K)
inline void block_row(const BlockMatrix& w, int64_t row, float* out) {
  const int64_t place = row % 16, bytes = block_bytes(w), groups = w.k / w.group;
  const uint8_t* block = w.panels + row / 16 * groups * bytes;
  for (int64_t group = 0; group < groups; group++, block += bytes) {
    const uint8_t* numbers = block + code_bytes(w) + place / LANES * 16;
    const float scale = load_half(numbers)[place % LANES];
    const float offset = w.offsets ? load_half(numbers + 32)[place % LANES] : 0.f;
    for (int64_t i = 0; i < w.group; i++) {
      const uint8_t* four = block + i / 4 * (w.bits == 4 ? 32 : 64);
      int code;
      if (w.bits == 4) code = four[place % 8 * 4 + i % 4] >> (place < 8 ? 0 : 4) & 15;
      else code = w.bits == 8 ? static_cast<int8_t>(four[place * 4 + i % 4]) : four[place * 4 + i % 4];
      *out++ = scale * static_cast<float>(code - w.zero) + offset;
    }
  }
}

inline void block_rows_at(const BlockMatrix& w, const int64_t* ids, int64_t count, float* out) {
  parallel_range(count, most<int64_t>(1, 65536 / most<int64_t>(1, w.k)), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; i++) block_row(w, ids[i], out + i * w.k);
  });
}

}  // namespace ENFOLD_ISA
