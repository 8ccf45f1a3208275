#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace {

constexpr int SPINS = 4000;         // about 50 µs, the distance of kernels in one pass; then a thread sleeps
constexpr int MOST_THREADS = 1024;  // beyond that a number was meant as something else
constexpr int MOST_TASKS = 0xffff;  // of one round, by the room in a ticket

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // waits some cycles; "yield" is nothing on most processors
#endif
}

class Pool {
 public:
  explicit Pool(int helpers) {
    threads_.reserve(helpers);
    try {
      for (int i = 0; i < helpers; i++) threads_.emplace_back([this] { help(); });
    } catch (...) {
      // the system gives no more of them: those that there are do the work, if need be the calling one alone
    }
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

  // Returns when all tasks are done, also where one of them fails: helpers may not outlive what `context` points to.
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
    if (failed_.exchange(false, std::memory_order_relaxed)) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  // A ticket is 32 bits of a round's number, 16 of its tasks' count and 16 of the next one's number.
  uint64_t next_round(int count) const { return ((ticket_.load() >> 32) + 1) << 32 | uint64_t(count) << 16; }

  // Does tasks of the present round until none is left. A thread that comes late may read a task that is about to
  // change; then the ticket changes as well, or has no task left.
  void take() {
    for (;;) {
      uint64_t ticket = ticket_.load(std::memory_order_acquire);
      const Task task = task_.load(std::memory_order_relaxed);
      void* const context = context_.load(std::memory_order_relaxed);
      const int index = ticket & 0xffff, count = ticket >> 16 & 0xffff;
      if (index >= count) return;
      if (!ticket_.compare_exchange_strong(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      attempt(task, context, index);
      done_.fetch_add(1, std::memory_order_release);
    }
  }

  // The first failure is kept for the caller; what is left of the round is skipped.
  void attempt(Task task, void* context, int index) {
    if (failed_.load(std::memory_order_relaxed)) return;
    try {
      task(context, index);
    } catch (...) {
      if (!failed_.exchange(true, std::memory_order_relaxed)) error_ = std::current_exception();
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

  uint64_t round() const { return ticket_.load(std::memory_order_seq_cst) >> 32; }

  std::mutex mutex_;
  std::condition_variable wake_;
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int> done_{0};
  std::atomic<int> asleep_{0};
  std::atomic<bool> ending_{false}, failed_{false};
  std::exception_ptr error_;  // written by the one that set failed_, read when all tasks are done
  std::atomic<Task> task_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::vector<std::thread> threads_;
};

// The pool is never destroyed at the program's end: a thread of the interpreter may still be inside a kernel then.
Pool* pool = nullptr;            // belongs to whoever set `busy`
std::atomic<bool> busy{false};   // no mutex: a task that calls a kernel asks for what its own thread may hold
std::atomic<int> wanted{1};

class Hold {
 public:
  Hold() : held_(!busy.exchange(true, std::memory_order_acquire)) {}
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() {
    if (held_) busy.store(false, std::memory_order_release);
  }
  explicit operator bool() const { return held_; }

 private:
  const bool held_;
};

#if defined(__unix__) || defined(__APPLE__)
// a child has none of its parent's threads: it makes its own, and leaves the old pool's memory alone
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] {
  pool = nullptr;
  busy = false;
});
#endif

}  // namespace

void set_threads(int count) {
  if (count < 1 || count > MOST_THREADS)
    throw std::invalid_argument("threads must be 1 to " + std::to_string(MOST_THREADS) + ", not " + std::to_string(count));
  for (;;) {
    if (const Hold hold; hold) {
      wanted = count;
      delete pool;
      pool = nullptr;
      return;
    }
    std::this_thread::yield();  // until the kernel that uses the pool is done
  }
}

int threads() { return wanted.load(std::memory_order_relaxed); }

void run_tasks(int count, Task task, void* context) {
  if (count > MOST_TASKS) {
    const int together = count / MOST_TASKS + 1;
    return parallel(count / together + 1, [=](int part) {
      const int64_t first = int64_t(part) * together;
      for (int64_t i = first; i < first + together && i < count; i++) task(context, static_cast<int>(i));
    });
  }
  if (count > 1 && threads() > 1) {
    if (const Hold hold; hold) {
      if (!pool) pool = new Pool(threads() - 1);
      return pool->run(count, task, context);
    }
  }
  for (int i = 0; i < count; i++) task(context, i);
}
