#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace {

bool has(const Kernels& set) {
  const std::string name = set.name;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (name == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (name == "avx512")
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
#endif
  return true;  // portable; and the one of AArch64, which is built where it is wanted
}

const Kernels& choose() {
  const Kernels* built[] = {
#ifdef ENFOLD_HAS_AVX512
      &avx512_kernels,
#endif
#ifdef ENFOLD_HAS_AVX2
      &avx2_kernels,
#endif
#ifdef ENFOLD_HAS_NEON
      &neon_kernels,
#endif
      &portable_kernels,
  };
  const char* forced = std::getenv("ENFOLD_ISA");
  for (const Kernels* set : built)
    if (has(*set) && (!forced || !*forced || std::string(forced) == set->name)) return *set;
  throw std::runtime_error("ENFOLD_ISA=" + std::string(forced) + " is not among what this build and this processor have");
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}
