// Holds the pool to its promises under ThreadSanitizer: every task runs once and is seen by the caller, whoever calls
// meanwhile, changes the number of threads, throws, or calls from inside a task. Run by `make sanitize`.

#include "pool.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "pool_stress: %s\n", what);
  std::exit(1);
}

// Numbers that are no atomics: a task that is run twice at once, or seen too early, is a data race.
void every_task_once(int count) {
  std::vector<int> runs(count);
  parallel(count, [&](int task) { runs[task]++; });
  for (const int each : runs) expect(each == 1, "a task was not run once");
}

void ranges_are_covered(int64_t total, int64_t grain) {
  std::vector<int> runs(total);
  parallel_range(total, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) runs[i]++;
  });
  for (const int each : runs) expect(each == 1, "a number was not reached once");
}

// With and without a pause after which helpers sleep.
void rounds() {
  for (int round = 0; round < 3000; round++) {
    every_task_once(round % 37);
    if (round % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (const int count : {0xffff, 0x10000, 300'001}) every_task_once(count);
  for (const int64_t total : {0, 1, 5, 1000, 12345})
    for (const int64_t grain : {0, 1, 64, 100'000}) ranges_are_covered(total, grain);
}

void tasks_that_call() {
  std::vector<int> sums(50);
  parallel(50, [&](int task) { parallel(20, [&](int inner) { sums[task] += inner; }); });
  for (const int sum : sums) expect(sum == 190, "a task inside a task was lost");
}

void failures() {
  for (int round = 0; round < 500; round++) {
    bool caught = false;
    try {
      parallel(30, [&](int task) {
        if (task % 3 == round % 3) throw std::bad_alloc();
      });
    } catch (const std::bad_alloc&) {
      caught = true;
    }
    expect(caught, "a failure did not reach the caller");
    every_task_once(10);
  }
  for (const int count : {std::numeric_limits<int>::min(), -1, 0, 1025}) {
    bool caught = false;
    try {
      set_threads(count);
    } catch (const std::invalid_argument&) {
      caught = true;
    }
    expect(caught, "a number of threads that can't be meant was taken");
  }
}

void many_callers() {
  std::atomic<bool> stop{false};
  std::thread changes([&] {
    for (int count = 1; !stop; count = count % 5 + 1) {
      set_threads(count);
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
  });
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; i++)
    callers.emplace_back([] {
      for (int round = 0; round < 1000; round++) every_task_once(round % 23);
    });
  for (auto& caller : callers) caller.join();
  stop = true;
  changes.join();
}

}  // namespace

int main() {
  for (const int count : {1, 2, 4}) {
    set_threads(count);
    expect(threads() == count, "another number of threads");
    rounds();
    tasks_that_call();
    failures();
  }
  many_callers();
  std::puts("pool_stress: passed");
}
