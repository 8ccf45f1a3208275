#include "lent.h"

#include <mutex>
#include <new>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace {

constexpr std::align_val_t LINE{64};
constexpr int64_t KEPT_MOST = int64_t{96} << 20;  // bytes that nobody uses and that are not given back

struct Shelf {
  std::mutex mutex;
  std::vector<std::pair<void*, int64_t>> kept;  // the last to come back is the last of them
  int64_t bytes = 0;
};

// Never destroyed: arrays may outlive everything else of a program. A forked child begins with none, since one of its
// parent's threads may have held the mutex.
Shelf* shelf = new Shelf;
#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { shelf = new Shelf; });
#endif

}  // namespace

void* lines_new(int64_t bytes) {
  if (void* memory = ::operator new(bytes, LINE, std::nothrow)) return memory;
  throw std::bad_alloc();
}

void lines_delete(void* memory) { ::operator delete(memory, LINE); }

Lent::Lent(int64_t bytes) : size_((bytes + 4095) / 4096 * 4096) {
  {
    Shelf& from = *shelf;
    const std::lock_guard<std::mutex> lock(from.mutex);
    auto best = from.kept.end();  // the smallest that is large enough, and not more than half as large again
    for (auto each = from.kept.begin(); each != from.kept.end(); ++each)
      if (each->second >= size_ && each->second <= size_ + size_ / 2 && (best == from.kept.end() || each->second <= best->second))
        best = each;
    if (best != from.kept.end()) {
      memory_ = best->first, size_ = best->second;
      from.bytes -= size_;
      from.kept.erase(best);
      return;
    }
  }
  memory_ = lines_new(size_);
}

Lent::~Lent() {
  if (size_ > KEPT_MOST) {
    lines_delete(memory_);
    return;
  }
  std::vector<std::pair<void*, int64_t>> dropped;
  {
    Shelf& to = *shelf;
    const std::lock_guard<std::mutex> lock(to.mutex);
    to.kept.emplace_back(memory_, size_);
    to.bytes += size_;
    while (to.bytes > KEPT_MOST) {
      to.bytes -= to.kept.front().second;
      dropped.push_back(to.kept.front());
      to.kept.erase(to.kept.begin());
    }
  }
  for (const auto& [memory, size] : dropped) lines_delete(memory);
}
