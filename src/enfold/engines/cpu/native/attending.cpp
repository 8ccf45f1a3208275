#include "attending.h"

#include <algorithm>
#include <cstring>

#include "bindings.h"
#include "pool.h"

namespace {

// Keys of all sequences: how many numbers there are from the first to the last, how far apart keys and heads are, and how
// many numbers a key has.
struct KeySpace {
  const void *keys, *values;
  bool bytes;
  int64_t numbers, key_stride, head_stride, width;
};

void attend(const Lines& query, const KeySpace& space, const AttendKind& kind, const Spans& spans, const Integers& offset,
            const Integers& length, const BiasLines& bias, const Lines& out) {
  const auto [heads, kv_heads, size, scale, causal, window] = kind;
  const std::size_t sequences = spans.begin.size();
  expect(heads > 0 && kv_heads > 0 && size > 0 && heads % kv_heads == 0, "heads must be a multiple of kv_heads");
  expect(query.width == times(heads, size), "query must be (T, heads * size)");
  expect(out.rows == query.rows && out.width == query.width && (out.stride == out.width || out.rows < 2),
         "out must be like query");
  expect(spans.count.size() == sequences && offset.size() == sequences && length.size() == sequences,
         "begin, count, offset and length must be of one length");
  expect(window >= 0, "window must not be negative");
  for (std::size_t i = 0; i < sequences; i++) {
    const int64_t begin = spans.begin[i], count = spans.count[i];
    expect(begin >= 0 && count >= 0 && begin <= query.rows && count <= query.rows - begin, "queries beyond the end");
    const int64_t reach = (kv_heads - 1) * space.head_stride + space.width;
    expect(length[i] >= 0 && offset[i] >= 0, "negative keys");
    expect(length[i] == 0 || (offset[i] <= space.numbers - reach &&
                              (length[i] - 1) <= (space.numbers - reach - offset[i]) / space.key_stride),
           "keys beyond the end");
    expect(!causal || length[i] >= count, "fewer keys than queries");
    if (bias.data) {
      expect(bias.sequences == 1 || bias.sequences == static_cast<int64_t>(sequences), "bias must be (1 or B, H, S, S')");
      expect(bias.heads == heads && bias.queries >= count && bias.keys >= length[i],
             "bias must reach over all queries and keys");
    }
  }
  Attention a{query.data, query.stride,       space.keys,          space.values,  space.bytes,      space.key_stride,
              space.head_stride,              out.data,            heads,         kv_heads,         size,
              static_cast<int64_t>(sequences),
              spans.begin.data(),             spans.count.data(),  offset.data(), length.data(),    scale,
              causal,     window,             bias.data,           0,             0,                0};
  if (bias.data) {
    a.bias_sequence = bias.sequences == 1 ? 0 : bias.sequence_stride;
    a.bias_head = bias.head_stride, a.bias_row = bias.query_stride;
  }
  kernels().attend(a);
}

}  // namespace

void attend_lines(const Lines& query, const Lines& key, const Lines& value, const AttendKind& kind, const Spans& spans,
                  const Integers& first, const Integers& length, const BiasLines& bias, const Lines& out) {
  const int64_t width = times(kind.kv_heads, kind.size);
  expect(key.width == width && value.width == width && key.rows == value.rows, "key and value must be (T', kv_heads * size)");
  expect(value.stride == key.stride, "rows of key and value must be equally far apart");
  Integers offset(first.size());
  for (std::size_t i = 0; i < offset.size(); i++) {
    expect(first[i] >= 0 && first[i] <= key.rows, "keys beyond the end");
    offset[i] = first[i] * key.stride;
  }
  const int64_t numbers = key.rows ? (key.rows - 1) * key.stride + width : 0;
  const KeySpace space{key.data, value.data, false, numbers, key.stride, kind.size, kind.size};
  attend(query, space, kind, spans, offset, length, bias, out);
}

void attend_store(const Lines& query, const KeyStore& store, const AttendKind& kind, const Spans& spans,
                  const Integers& rows, const Integers& length, const BiasLines& bias, const Lines& out) {
  const int64_t head = store.capacity * store.width, row = store.kv_heads * head;
  expect(store.kv_heads == kind.kv_heads && store.size == kind.size, "the store has other heads");
  Integers offset(rows.size());
  for (std::size_t i = 0; i < offset.size(); i++) {
    expect(rows[i] >= 0 && rows[i] < store.rows, "a row beyond the end");
    expect(i >= length.size() || length[i] <= store.capacity, "keys beyond the end");
    offset[i] = rows[i] * row;
  }
  const KeySpace space{store.keys, store.values, store.bytes, store.rows * row, store.width, head, store.width};
  attend(query, space, kind, spans, offset, length, bias, out);
}

void keep_lines(const Lines& key, const Lines& value, const KeyStore& store, const Spans& spans, const Integers& rows,
                const Integers& pasts) {
  const auto [keys, values, bytes, stored, kv_heads, capacity, size, width] = store;
  const std::size_t sequences = spans.begin.size();
  expect(key.width == kv_heads * size && value.width == key.width && value.rows == key.rows,
         "key and value must be (T, kv_heads * size)");
  expect(spans.count.size() == sequences && rows.size() == sequences && pasts.size() == sequences,
         "begin, count, rows and pasts must be of one length");
  for (std::size_t i = 0; i < sequences; i++) {
    const int64_t first = spans.begin[i], some = spans.count[i];
    expect(first >= 0 && some >= 0 && first <= key.rows && some <= key.rows - first, "keys beyond the end");
    expect(rows[i] >= 0 && rows[i] < stored, "a row beyond the end");
    expect(pasts[i] >= 0 && pasts[i] <= capacity && some <= capacity - pasts[i], "no room for the keys");
  }
  const auto write = [&store](const float* from, void* all, int64_t at) {
    if (store.bytes) kernels().encode_key(from, store.size, static_cast<int8_t*>(all) + at);
    else std::memcpy(static_cast<float*>(all) + at, from, store.size * sizeof(float));
  };
  const auto copy = [&](int64_t from, int64_t until) {
    for (int64_t line = from; line < until; line++) {
      const int64_t i = line / store.kv_heads, head = line % store.kv_heads, first = spans.begin[i];
      const int64_t to = ((rows[i] * store.kv_heads + head) * store.capacity + pasts[i]) * store.width;
      const float *k = key.data + first * key.stride + head * store.size;
      const float *v = value.data + first * value.stride + head * store.size;
      for (int64_t token = 0; token < spans.count[i]; token++) {
        write(k + token * key.stride, store.keys, to + token * store.width);
        write(v + token * value.stride, store.values, to + token * store.width);
      }
    }
  };
  const int64_t average = key.rows / std::max<int64_t>(1, sequences) * size;
  parallel_range(sequences * kv_heads, 16384 / std::max<int64_t>(1, average), copy);
}

void rotate_lines(const Lines& x, int64_t size, const Lines& cosines, const Lines& sines) {
  const int64_t turned = cosines.width;
  expect(size > 0 && x.width % size == 0 && turned <= size && turned % 2 == 0, "x must be (T, heads * size)");
  expect(cosines.rows == x.rows && sines.rows == x.rows && sines.width == turned, "cosines and sines must be (T, turned)");
  kernels().rotate(x.data, x.rows, x.stride, x.width / size, size, cosines.data, sines.data, turned);
}
