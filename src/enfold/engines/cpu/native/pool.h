// Threads that share out the work of one kernel.
//
// A kernel's work is cut into more tasks than there are threads, which take the next one from a counter: where the
// operating system gives a core to somebody else, the other threads do its part. One kernel at a time uses the pool; a
// second one, called meanwhile from another thread or by a task, does its tasks itself, so that sessions don't wait for
// each other. What a task throws reaches the caller when the others are done; of several failures, the first.
#pragma once

#include <cstdint>

// How many threads kernels use from now on, the calling one included; waits for the kernel that runs. Throws
// std::invalid_argument where the number can't be meant.
void set_threads(int count);
int threads();

using Task = void (*)(void* context, int task);
void run_tasks(int count, Task task, void* context);

// Calls body(task) for every task in [0, count).
template <typename Body>
void parallel(int count, const Body& body) {
  run_tasks(count, [](void* context, int task) { (*static_cast<const Body*>(context))(task); },
            const_cast<void*>(static_cast<const void*>(&body)));
}

// Cuts [0, total) into parts of at least `grain`, about four a thread, and calls body(begin, end) for each.
template <typename Body>
void parallel_range(int64_t total, int64_t grain, const Body& body) {
  const int64_t most = total / (grain < 1 ? 1 : grain);
  const int64_t wanted = threads() == 1 ? 1 : 4 * threads();
  const int parts = static_cast<int>(most < 1 ? 1 : most < wanted ? most : wanted);
  parallel(parts, [&](int part) { body(total * part / parts, total * (part + 1) / parts); });
}
