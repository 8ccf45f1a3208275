// Vectors of one width per instruction set, with what the compiler's own vector types lack.
//
// Every kernel is compiled several times, each time with other compiler flags and inside another namespace (see
// kernels.cpp); what differs between instruction sets is in this file alone.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__F16C__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

namespace ENFOLD_ISA {

constexpr int LANES = 8;  // numbers of a vector; wider registers are filled by two vectors

typedef float f32v __attribute__((vector_size(32)));
typedef int32_t i32v __attribute__((vector_size(32)));
typedef int16_t i16v __attribute__((vector_size(32)));
typedef int8_t i8v __attribute__((vector_size(32)));

// memory without alignment
typedef float f32u __attribute__((vector_size(32), aligned(1), may_alias));
typedef int32_t i32u __attribute__((vector_size(32), aligned(1), may_alias));

inline f32v load(const float* at) { return *reinterpret_cast<const f32u*>(at); }
inline void store(float* at, f32v value) { *reinterpret_cast<f32u*>(at) = value; }
inline i32v load_bytes(const void* at) { return *reinterpret_cast<const i32u*>(at); }
inline f32v all(float a) { return f32v{a, a, a, a, a, a, a, a}; }
inline i32v all_i(int32_t a) { return i32v{a, a, a, a, a, a, a, a}; }
inline f32v to_float(i32v value) { return __builtin_convertvector(value, f32v); }
inline i32v to_int(f32v value) { return __builtin_convertvector(value, i32v); }  // towards zero
inline f32v as_float(i32v bits) { return reinterpret_cast<f32v>(bits); }
inline i32v as_int(f32v bits) { return reinterpret_cast<i32v>(bits); }

inline f32v max(f32v a, f32v b) {
#ifdef __AVX2__
  return (f32v)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

inline f32v min(f32v a, f32v b) {
#ifdef __AVX2__
  return (f32v)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return a < b ? a : b;
#endif
}

// the first `count` numbers, zero for the others
inline f32v load_some(const float* at, int count) {
  f32v value{};
  std::memcpy(&value, at, count * sizeof(float));
  return value;
}

inline void store_some(float* at, f32v value, int count) { std::memcpy(at, &value, count * sizeof(float)); }

inline float sum(f32v a) {
  a += __builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3);
  a += __builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5);
  return a[0] + a[1];
}

// rows become columns
inline void transpose(f32v r[LANES]) {
  f32v t[LANES], u[LANES];
  for (int i = 0; i < 4; i++) {
    t[2 * i] = __builtin_shufflevector(r[2 * i], r[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[2 * i + 1] = __builtin_shufflevector(r[2 * i], r[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++) {
      u[4 * i + 2 * j] = __builtin_shufflevector(t[4 * i + j], t[4 * i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      u[4 * i + 2 * j + 1] = __builtin_shufflevector(t[4 * i + j], t[4 * i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int i = 0; i < 4; i++) {
    r[i] = __builtin_shufflevector(u[i], u[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    r[i + 4] = __builtin_shufflevector(u[i], u[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

inline float highest(f32v a) {
  a = max(a, __builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3));
  a = max(a, __builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5));
  return a[0] > a[1] ? a[0] : a[1];
}

// eight signed bytes as numbers
inline f32v load_signed(const int8_t* at) {
#ifdef __AVX2__
  return to_float((i32v)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at))));
#else
  i32v value;
  for (int i = 0; i < LANES; i++) value[i] = at[i];
  return to_float(value);
#endif
}

inline float lowest(f32v a) { return -highest(-a); }

// sum += products of four unsigned bytes (up to 127) and four signed ones, in each of eight places
inline i32v dot_bytes(i32v sum, i32v unsigned_bytes, i32v signed_bytes) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
  return (i32v)_mm256_dpbusd_epi32((__m256i)sum, (__m256i)unsigned_bytes, (__m256i)signed_bytes);
#elif defined(__AVXVNNI__)
  return (i32v)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)unsigned_bytes, (__m256i)signed_bytes);
#elif defined(__AVX2__)
  const __m256i pairs = _mm256_maddubs_epi16((__m256i)unsigned_bytes, (__m256i)signed_bytes);
  return sum + (i32v)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(__ARM_FEATURE_DOTPROD)
  int8x16_t a[2], b[2];  // up to 127, so that both may be taken as signed
  int32x4_t s[2];
  std::memcpy(a, &unsigned_bytes, 32), std::memcpy(b, &signed_bytes, 32), std::memcpy(s, &sum, 32);
  for (int i = 0; i < 2; i++) s[i] = vdotq_s32(s[i], a[i], b[i]);
  std::memcpy(&sum, s, 32);
  return sum;
#else
  const auto* a = reinterpret_cast<const uint8_t*>(&unsigned_bytes);
  const auto* b = reinterpret_cast<const int8_t*>(&signed_bytes);
  for (int i = 0; i < 32; i++) sum[i / 4] += a[i] * b[i];
  return sum;
#endif
}

// the same where both are signed: -128 only on the left
inline i32v dot_signed(i32v sum, i32v left, i32v right) {
#if defined(__AVX2__)
  const __m256i sizes = _mm256_abs_epi8((__m256i)left);
  return dot_bytes(sum, (i32v)sizes, (i32v)_mm256_sign_epi8((__m256i)right, (__m256i)left));
#elif defined(__ARM_FEATURE_DOTPROD)
  return dot_bytes(sum, left, right);
#else
  const auto *a = reinterpret_cast<const int8_t*>(&left), *b = reinterpret_cast<const int8_t*>(&right);
  for (int i = 0; i < 32; i++) sum[i / 4] += a[i] * b[i];
  return sum;
#endif
}

// Keeps a sum in its register while an unrolled loop adds to it: compilers like to do all products first, and spill them.
template <typename T>
inline void settle([[maybe_unused]] T& sum) {
#ifdef __AVX2__
  asm("" : "+x"(sum));
#endif
}

// Sums of products of unsigned and signed bytes, four in each of eight places, of which few enough are added that AVX2's
// sixteen bits hold them: two products of the four at a time, and only in the end both twos.
struct ShortSum {
#if defined(__AVX2__) && !defined(__AVX512VNNI__) && !defined(__AVXVNNI__)
  i32v pairs;
  void add(i32v unsigned_bytes, i32v signed_bytes) {  // too much wraps around, which is no undefined behaviour here
    const __m256i products = _mm256_maddubs_epi16((__m256i)unsigned_bytes, (__m256i)signed_bytes);
    pairs = (i32v)_mm256_add_epi16((__m256i)pairs, products);
    settle(pairs);
  }
  i32v total() const { return (i32v)_mm256_madd_epi16((__m256i)pairs, _mm256_set1_epi16(1)); }
#else
  i32v whole;
  void add(i32v unsigned_bytes, i32v signed_bytes) { whole = dot_bytes(whole, unsigned_bytes, signed_bytes); }
  i32v total() const { return whole; }
#endif
};

// the nearest whole numbers, of two the even one
inline i32v nearest(f32v value) {
#ifdef __AVX2__
  return (i32v)_mm256_cvtps_epi32((__m256)value);
#else
  i32v result;
  for (int i = 0; i < LANES; i++) result[i] = static_cast<int32_t>(__builtin_lrintf(value[i]));
  return result;
#endif
}

inline f32v magnitude(f32v a) { return as_float(as_int(a) & 0x7fffffff); }

// eight numbers as bytes, four to each place
inline void store_fours(void* first, void* second, i32v value) {
  const i8v bytes = reinterpret_cast<i8v>(value);
  const i32v fours = reinterpret_cast<i32v>(
      __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12,  //
                              16, 20, 24, 28, 16, 20, 24, 28, 16, 20, 24, 28, 16, 20, 24, 28));
  const int32_t low = fours[0], high = fours[4];
  std::memcpy(first, &low, 4);
  std::memcpy(second, &high, 4);
}

// 32 numbers as bytes of 0 to 127, those beyond as the nearest of them
inline void store_bytes(void* to, i32v a, i32v b, i32v c, i32v d) {
#ifdef __AVX2__
  const __m256i low = _mm256_packs_epi32((__m256i)a, (__m256i)b), high = _mm256_packs_epi32((__m256i)c, (__m256i)d);
  const __m256i bytes = _mm256_min_epu8(_mm256_packus_epi16(low, high), _mm256_set1_epi8(127));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(static_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(bytes, order));
#else
  const i32v parts[4] = {a, b, c, d};
  for (int part = 0; part < 4; part++) {
    const i32v value = parts[part] < 0 ? all_i(0) : parts[part] > 127 ? all_i(127) : parts[part];
    store_fours(static_cast<uint8_t*>(to) + part * 8, static_cast<uint8_t*>(to) + part * 8 + 4, value);
  }
#endif
}

// a bit for each place where a comparison holds, the first one's lowest
inline unsigned places_where(i32v holds) {
#ifdef __AVX2__
  return static_cast<unsigned>(_mm256_movemask_ps((__m256)holds));
#else
  unsigned bits = 0;
  for (int i = 0; i < LANES; i++) bits |= holds[i] ? 1u << i : 0u;
  return bits;
#endif
}

// half-precision numbers, eight of them
inline f32v load_half(const void* at) {
#ifdef __F16C__
  return (f32v)_mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(at)));
#else
  uint16_t halves[LANES];
  std::memcpy(halves, at, sizeof(halves));
  f32v result;
  for (int i = 0; i < LANES; i++) {
    const uint32_t half = halves[i], sign = (half & 0x8000u) << 16, magnitude = half & 0x7fffu;
    uint32_t bits = (magnitude << 13) + 0x38000000u;       // the exponent's bias is 15 there and 127 here
    if (magnitude >= 0x7c00u) bits += 0x38000000u;         // infinities and NaN
    float number;
    std::memcpy(&number, &bits, 4);
    if (magnitude < 0x0400u) number = magnitude * 0x1p-24f;  // below the normal numbers
    std::memcpy(&bits, &number, 4);
    bits |= sign;
    std::memcpy(&number, &bits, 4);
    result[i] = number;
  }
  return result;
#endif
}

}  // namespace ENFOLD_ISA
