// Memory for results that live for one step of a pass. What comes back is lent again: memory that is new costs the
// operating system more, page by page, than a kernel needs to fill it.
#pragma once

#include <cstdint>

class Lent {
 public:
  explicit Lent(int64_t bytes);  // aligned to a cache line; throws std::bad_alloc
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;
  ~Lent();

  void* data() const { return memory_; }

 private:
  void* memory_;
  int64_t size_;
};
