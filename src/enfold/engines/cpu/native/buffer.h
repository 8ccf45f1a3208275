// Memory that a thread keeps between calls, and what <algorithm> would be used for: nothing here may be shared with
// code compiled for another processor, as instances of the standard library's templates are.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

namespace ENFOLD_ISA {

template <typename T>
static inline T least(T a, T b) { return a < b ? a : b; }
template <typename T>
static inline T most(T a, T b) { return a > b ? a : b; }

// Grows, never shrinks; aligned to a cache line.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(memory_); }

  T* of(int64_t count) {
    if (count > size_) {
      std::free(memory_);
      const std::size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
      memory_ = static_cast<T*>(std::aligned_alloc(64, bytes));
      size_ = memory_ ? count : 0;
      if (!memory_) throw std::bad_alloc();
    }
    return memory_;
  }

 private:
  T* memory_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace ENFOLD_ISA
