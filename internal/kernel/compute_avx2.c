// AVX2 and FMA.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#pragma GCC target("avx2,fma")

#include <immintrin.h>
#include <stdint.h>

#define SET avx2
#define WIDTH 8

enum { WIDTH2 = 16 };
typedef struct { __m256i lanes; } dot_acc;

static inline void dot8(dot_acc *acc, const int8_t *w, const int16_t *q) {
	__m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w));
	acc->lanes = _mm256_add_epi32(acc->lanes, _mm256_madd_epi16(wide, _mm256_loadu_si256((const __m256i *)q)));
}

static inline float dot_sum(const dot_acc *acc) {
	__m256 v = _mm256_cvtepi32_ps(acc->lanes);
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

#define DOT8 dot8
#define MAX_V(bound, x) ((vf)_mm256_max_ps(bound, x)) // of one that is no number, the second
#define MIN_V(bound, x) ((vf)_mm256_min_ps(bound, x))
#define STREAM(p, v) _mm256_stream_ps(p, (__m256)(v)) // past the caches; p is aligned

#include "body.h"

#endif
