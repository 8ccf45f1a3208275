#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.h"

#ifdef _WIN32
#include <windows.h>
#elif defined(__linux__) && defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace {

// The newest first, each asked for only where it was built.
#if defined(_WIN32)
constexpr DWORD AVX2 = 40, ARM_DOT_PRODUCT = 43;  // clang's own question needs a library that Visual Studio lacks
[[maybe_unused]] bool has_avx512() { return false; }  // Windows does not tell of its VNNI
[[maybe_unused]] bool has_avx2() { return IsProcessorFeaturePresent(AVX2); }
[[maybe_unused]] bool has_dot_product() { return IsProcessorFeaturePresent(ARM_DOT_PRODUCT); }
#elif defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
#elif defined(__linux__) && defined(__aarch64__)
bool has_dot_product() { return getauxval(AT_HWCAP) & (1 << 20); }  // HWCAP_ASIMDDP
#else
[[maybe_unused]] bool has_dot_product() { return true; }  // every Apple processor has it
#endif

struct Candidate {
  const Kernels& kernels;
  bool (*present)();
};

const Candidate candidates[] = {
#ifdef ENFOLD_HAS_AVX512
    {avx512_kernels, has_avx512},
#endif
#ifdef ENFOLD_HAS_AVX2
    {avx2_kernels, has_avx2},
#endif
#ifdef ENFOLD_HAS_NEON
    {neon_kernels, has_dot_product},
#endif
    {portable_kernels, [] { return true; }},
};

const Kernels& choose() {
  const char* forced = std::getenv("ENFOLD_ISA");
  std::string names;
  for (const auto& [kernels, present] : candidates) {
    if (!present()) continue;
    if (!forced || !*forced || !std::strcmp(forced, kernels.name)) return kernels;
    names += std::string(kernels.name) + ", ";
  }
  throw std::invalid_argument("ENFOLD_ISA is \"" + std::string(forced) + "\"; this build and this processor have " + names +
                              "and numpy, which stands for no kernels at all");
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}
