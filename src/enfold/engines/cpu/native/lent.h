// Memory for results that live for one step of a pass. What comes back is lent again: memory that is new costs the
// operating system more, page by page, than a kernel needs to fill it.
#pragma once

#include <cstdint>

// Memory that begins a cache line; throws std::bad_alloc where there is none, under sanitizers too, whose own operator
// new would end the process instead.
void* lines_new(int64_t bytes);
void lines_delete(void* memory);

class Lent {
 public:
  explicit Lent(int64_t bytes);
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;
  ~Lent();

  void* data() const { return memory_; }

 private:
  void* memory_;
  int64_t size_;
};
