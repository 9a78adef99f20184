// AVX-512 with VNNI.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)

#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,prefer-vector-width=512")

#include <immintrin.h>
#include <stdint.h>

#define SET avx512
#define WIDTH 16

enum { WIDTH2 = 32 };
typedef struct { __m512i lanes; } dot_acc;

static inline void dot8(dot_acc *acc, const int8_t *w, const int16_t *q) {
	__m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)w));
	acc->lanes = _mm512_dpwssd_epi32(acc->lanes, wide, _mm512_loadu_si512(q));
}

static inline float dot_sum(const dot_acc *acc) { return _mm512_reduce_add_ps(_mm512_cvtepi32_ps(acc->lanes)); }

#define DOT8 dot8
#define MAX_V(bound, x) ((vf)_mm512_max_ps(bound, x)) // of one that is no number, the second
#define MIN_V(bound, x) ((vf)_mm512_min_ps(bound, x))
#define STREAM(p, v) _mm512_stream_ps(p, (__m512)(v)) // past the caches; p is aligned

#include "body.h"

#endif
