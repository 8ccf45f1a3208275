// What Python sees of attention and of what belongs to it.

#include "views.h"

namespace {

void attend_packed(const Rows<const float>& query, const Rows<const float>& key, const Rows<const float>& value,
                   int64_t heads, int64_t kv_heads, int64_t size, const Places& begin, const Places& count,
                   const Places& first, const Places& length, float scale, bool causal, int64_t window,
                   std::optional<Bias> bias, OutMatrix out) {
  const Lines q = lines_of(query), k = lines_of(key), v = lines_of(value);
  const BiasLines added = bias_of(bias);
  nb::gil_scoped_release unlocked;
  attend_lines(q, k, v, {heads, kv_heads, size, scale, causal, window}, {integers_of(begin), integers_of(count)},
               integers_of(first), integers_of(length), added, whole_lines_of(out));
}

void attend_stored(const Rows<const float>& query, const Stored& keys, const Stored& values,
                   int64_t heads, const Places& begin, const Places& count, const Places& rows, const Places& length,
                   float scale, bool causal, int64_t window, std::optional<Bias> bias, OutMatrix out) {
  const Lines q = lines_of(query);
  const KeyStore store = store_of(keys, values);
  const BiasLines added = bias_of(bias);
  nb::gil_scoped_release unlocked;
  attend_store(q, store, {heads, store.kv_heads, store.size, scale, causal, window},
               {integers_of(begin), integers_of(count)}, integers_of(rows), integers_of(length), added,
               whole_lines_of(out));
}

void keep(const Rows<const float>& key, const Rows<const float>& value, const OutStored& keys, const OutStored& values,
          const Places& begin, const Places& count, const Places& rows, const Places& pasts) {
  const Lines k = lines_of(key), v = lines_of(value);
  const KeyStore store = store_of(keys, values);
  nb::gil_scoped_release unlocked;
  keep_lines(k, v, store, {integers_of(begin), integers_of(count)}, integers_of(rows), integers_of(pasts));
}

void rotate(Rows<float> x, int64_t size, const Matrix& cosines, const Matrix& sines) {
  const Lines turned = lines_of(x);
  nb::gil_scoped_release unlocked;
  rotate_lines(turned, size, whole_lines_of(cosines), whole_lines_of(sines));
}

}  // namespace

void bind_attention(nb::module_& module) {
  module.def("attend_packed", &attend_packed);
  module.def("attend_stored", &attend_stored);
  module.def("keep", &keep);
  module.def("rotate", &rotate);
}
