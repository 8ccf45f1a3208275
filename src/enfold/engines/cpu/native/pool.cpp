#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#ifdef __unix__
#include <pthread.h>
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace {

constexpr int SPINS = 4000;  // about 50 µs, the distance of kernels in one pass; then a thread sleeps

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#endif
}

class Pool {
 public:
  explicit Pool(int helpers) {
    for (int i = 0; i < helpers; i++) threads_.emplace_back([this] { help(); });
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ending_.store(true);
      ticket_.store(next_round(0));
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  void run(int count, Task task, void* context) {
    task_.store(task, std::memory_order_relaxed);
    context_.store(context, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    ticket_.store(next_round(count), std::memory_order_seq_cst);
    if (asleep_.load(std::memory_order_seq_cst)) {
      std::lock_guard<std::mutex> lock(mutex_);
      wake_.notify_all();
    }
    take();
    for (int spins = 0; done_.load(std::memory_order_acquire) < count; spins++) {
      if (spins < SPINS) relax();
      else std::this_thread::yield();
    }
  }

 private:
  // A ticket is 24 bits of a round's number, 20 of its tasks' count and 20 of the next one's number.
  uint64_t next_round(int count) const { return ((ticket_.load() >> 40) + 1) << 40 | uint64_t(count) << 20; }

  // Does tasks of the present round until none is left. A thread that comes late may read a task that is about to
  // change; then the ticket changes as well, or has no task left.
  void take() {
    for (;;) {
      uint64_t ticket = ticket_.load(std::memory_order_acquire);
      const Task task = task_.load(std::memory_order_relaxed);
      void* const context = context_.load(std::memory_order_relaxed);
      const int index = ticket & 0xfffff, count = ticket >> 20 & 0xfffff;
      if (index >= count) return;
      if (!ticket_.compare_exchange_strong(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      task(context, index);
      done_.fetch_add(1, std::memory_order_release);
    }
  }

  void help() {
    for (uint64_t seen = 0;;) {
      for (int spins = 0; round() == seen && spins < SPINS; spins++) relax();
      if (round() == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        asleep_.fetch_add(1, std::memory_order_seq_cst);
        wake_.wait(lock, [&] { return round() != seen; });
        asleep_.fetch_sub(1);
      }
      seen = round();
      if (ending_.load()) return;
      take();
    }
  }

  uint64_t round() const { return ticket_.load(std::memory_order_seq_cst) >> 40; }

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int> asleep_{0}, done_{0};
  std::atomic<bool> ending_{false};
  std::atomic<Task> task_{nullptr};
  std::atomic<void*> context_{nullptr};
};

std::mutex owner;  // held by the kernel that uses the pool
Pool* pool = nullptr;
std::atomic<int> wanted{1};

#ifdef __unix__
// a child has none of its parent's threads: it makes its own, and leaves the old pool's memory alone
void forget_pool() {
  pool = nullptr;
  new (&owner) std::mutex;
}
const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
#endif

}  // namespace

void set_threads(int count) {
  std::lock_guard<std::mutex> lock(owner);
  wanted = count < 1 ? 1 : count;
  delete pool;
  pool = nullptr;
}

int threads() { return wanted.load(std::memory_order_relaxed); }

void run_tasks(int count, Task task, void* context) {
  std::unique_lock<std::mutex> lock(owner, std::defer_lock);
  if (count < 2 || count > 0xfffff || threads() < 2 || !lock.try_lock()) {
    for (int i = 0; i < count; i++) task(context, i);
    return;
  }
  if (!pool) pool = new Pool(threads() - 1);
  pool->run(count, task, context);
}
