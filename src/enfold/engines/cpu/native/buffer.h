// Memory that a thread keeps between calls, and what <algorithm> would be used for: nothing here may be shared with
// code compiled for another processor, as instances of the standard library's templates are.
#pragma once

#include <cstdint>

#include "lent.h"

namespace ENFOLD_ISA {

template <typename T>
static inline T least(T a, T b) { return a < b ? a : b; }
template <typename T>
static inline T most(T a, T b) { return a > b ? a : b; }

// Calls body(a constant of 1 to 6): how many rows a tile has must be known to the compiler.
template <int VALUE>
struct Constant {
  static constexpr int value = VALUE;
};
template <typename Body>
inline void by_rows(int rows, const Body& body) {
  switch (rows) {
    case 6: return body(Constant<6>{});
    case 5: return body(Constant<5>{});
    case 4: return body(Constant<4>{});
    case 3: return body(Constant<3>{});
    case 2: return body(Constant<2>{});
    default: return body(Constant<1>{});
  }
}

// Grows, never shrinks; aligned to a cache line; not null even for no numbers, which memcpy insists on.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  T* of(int64_t count) {
    if (!memory_ || count > size_) {
      release();
      memory_ = static_cast<T*>(lines_new(most<int64_t>(1, count) * sizeof(T)));
      size_ = count;
    }
    return memory_;
  }

 private:
  void release() {
    lines_delete(memory_);
    memory_ = nullptr;
    size_ = 0;
  }

  T* memory_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace ENFOLD_ISA
