// Attention over memory that is given by pointers and shapes, with every shape and place checked: what the functions for
// Python and programs of several steps have in common. All of these throw std::invalid_argument.
#pragma once

#include <cstdint>
#include <vector>

// Rows of numbers, `stride` apart.
struct Lines {
  float* data;
  int64_t rows, width, stride;
};

// Keys and values of a cache, (rows, kv_heads, capacity, width) each: floats, where a key is as wide as a head, or bytes.
struct KeyStore {
  void *keys, *values;
  bool bytes;
  int64_t rows, kv_heads, capacity, size, width;
};

struct AttendKind {
  int64_t heads, kv_heads, size;
  float scale;
  bool causal;
  int64_t window;
};

// Added to scores: [sequence][head][query][key], keys next to each other; one sequence stands for all.
struct BiasLines {
  const float* data;  // or null
  int64_t sequences, heads, queries, keys, sequence_stride, head_stride, query_stride;
};

using Integers = std::vector<int64_t>;

// Which rows of a pass are whose.
struct Spans {
  Integers begin, count;
};

// out (T, heads · size) = attention of queries to keys that stand as `first` and `length` say among rows like theirs.
void attend_lines(const Lines& query, const Lines& key, const Lines& value, const AttendKind& kind, const Spans& spans,
                  const Integers& first, const Integers& length, const BiasLines& bias, const Lines& out);

// The same to the first `length` keys of `rows` of a store.
void attend_store(const Lines& query, const KeyStore& store, const AttendKind& kind, const Spans& spans,
                  const Integers& rows, const Integers& length, const BiasLines& bias, const Lines& out);

// Writes the new keys and values of each sequence after the `pasts` that its row of the store holds.
void keep_lines(const Lines& key, const Lines& value, const KeyStore& store, const Spans& spans, const Integers& rows,
                const Integers& pasts);

// Turns heads of `size` numbers by the angles of their rows, in place.
void rotate_lines(const Lines& x, int64_t size, const Lines& cosines, const Lines& sines);
