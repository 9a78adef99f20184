// The kernels, in vectors of WIDTH floats; each file that includes this one is a
// set of instructions. DOT8(acc, w, q) adds the products of WIDTH2 int8 and int16
// in pairs.
#include <string.h>

#include "compute.h"

enum { PARTS = LANES / WIDTH }; // vectors of a scan's item

typedef float vf __attribute__((vector_size(4 * WIDTH)));
typedef int32_t vi __attribute__((vector_size(4 * WIDTH)));

static inline vf splat(float x) { return x - (vf){}; }

static inline vf load(const float *p) {
	vf v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline void store(float *p, vf v) { memcpy(p, &v, sizeof v); }

static inline float sum(vf v) {
	float s = 0;
	for (int i = 0; i < WIDTH; i++) s += v[i];
	return s;
}

// Loads n <= LANES floats into PARTS vectors, and zeros behind them.
static inline void load_lanes(vf v[PARTS], const float *p, int64_t n) {
	if (n == LANES) {
		memcpy(v, p, sizeof(vf) * PARTS);
		return;
	}
	memset(v, 0, sizeof(vf) * PARTS);
	memcpy(v, p, (size_t)n * sizeof(float));
}

static inline void store_lanes(float *p, const vf v[PARTS], int64_t n) {
	if (n == LANES) {
		memcpy(p, v, sizeof(vf) * PARTS);
		return;
	}
	memcpy(p, v, (size_t)n * sizeof(float));
}

#ifndef STREAM
#define STREAM(p, v) store(p, v)
#endif

#ifndef MAX_V
// The larger, the smaller; x where it is not a number.
static inline vf MAX_V(vf bound, vf x) {
	vi less = x < bound;
	return (vf)((less & (vi)bound) | (~less & (vi)x));
}
static inline vf MIN_V(vf bound, vf x) {
	vi more = x > bound;
	return (vf)((more & (vi)bound) | (~more & (vi)x));
}
#endif

// 2^x for x <= 127 with a relative error below 3e-7; NaN stays NaN. Below -126 it
// is 2^-126.
static inline vf exp2_v(vf x) {
	x = MAX_V(splat(-126.0f), x);
	const vf shifted = x + 12582912.0f; // its low bits hold the nearest integer
	const vf f = x - (shifted - 12582912.0f);
	vf p = splat(1.5403530e-4f);
	p = p * f + 1.3333558e-3f;
	p = p * f + 9.6181291e-3f;
	p = p * f + 5.5504109e-2f;
	p = p * f + 2.4022651e-1f;
	p = p * f + 6.9314718e-1f;
	p = p * f + 1.0f;
	return (vf)((vi)p + ((vi)shifted << 23));
}

static const float log2_e = 1.44269504f;

static inline vf exp_v(vf x) { return exp2_v(MIN_V(splat(127.0f), x * log2_e)); }

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static inline void scan1_lanes(const scan1 *s, int64_t row, int64_t at, int64_t n) {
	const int64_t N = s->states, C = s->channels;
	vf h[MAX_STATES][PARTS], a[MAX_STATES][PARTS];
	for (int64_t i = 0; i < N; i++) {
		load_lanes(h[i], s->h + (row * N + i) * C + at, n);
		load_lanes(a[i], s->a + i * C + at, n);
		for (int k = 0; k < PARTS; k++) a[i][k] *= log2_e;
	}
	for (int64_t t = 0; t < s->steps; t++) {
		const int64_t step = row * s->steps + t;
		const float *b = s->b + step * N, *c = s->c + step * N;
		vf delta[PARTS], dx[PARTS], y[PARTS] = {};
		load_lanes(delta, s->delta + step * C + at, n);
		load_lanes(dx, s->dx + step * C + at, n);
		for (int64_t i = 0; i < N; i++) {
			for (int k = 0; k < PARTS; k++) {
				h[i][k] = exp2_v(delta[k] * a[i][k]) * h[i][k] + b[i] * dx[k];
				y[k] += c[i] * h[i][k];
			}
		}
		store_lanes(s->y + step * C + at, y, n);
	}
	for (int64_t i = 0; i < N; i++) store_lanes(s->last + (row * N + i) * C + at, h[i], n);
}

static void do_scan1(const scan1 *s, int64_t item) {
	const int64_t blocks = (s->channels + LANES - 1) / LANES;
	const int64_t at = item % blocks * LANES, n = smaller(LANES, s->channels - at);
	if (n == LANES) {
		scan1_lanes(s, item / blocks, at, LANES);
	} else {
		scan1_lanes(s, item / blocks, at, n);
	}
}

enum { STATES = 4, CHUNK = 16 }; // states in registers at once, tokens of a chunk

// A chunk of tokens of one head of Mamba-2: the algorithm of Dao & Gu 2024 with
// chunks so short that they stay in the first cache.
typedef struct {
	int64_t steps;
	float until[CHUNK];        // decay from before the chunk to after token t
	float after[CHUNK];        // decay from after token t to the end
	float mix[CHUNK][CHUNK];   // C_t B_s times the decay from s to t, for s <= t
	float b[CHUNK][MAX_STATES], c[CHUNK][MAX_STATES]; // zeros behind N
} chunk;

static void load_chunk(chunk *k, const scan2 *s, int64_t row, int64_t head, int64_t t0) {
	const int64_t N = s->states, group = head / (s->heads / s->groups);
	k->steps = smaller(CHUNK, s->steps - t0);
	float start = 0, since[CHUNK] = {}; // log2 of the decay from the start and from after each token to now
	for (int64_t t = 0; t < k->steps; t++) {
		const int64_t step = row * s->steps + t0 + t, at = (step * s->groups + group) * N;
		memcpy(k->b[t], s->b + at, (size_t)N * sizeof(float));
		memcpy(k->c[t], s->c + at, (size_t)N * sizeof(float));
		// Sums, not differences of sums from the start: these would lose digits behind a large step.
		const float log = s->da[step * s->heads + head] * log2_e;
		start += log;
		for (int64_t u = 0; u < t; u++) since[u] += log;
		k->until[t] = exp2_v(splat(start))[0];
		for (int i = 0; i < CHUNK; i += WIDTH) store(k->mix[t] + i, exp2_v(load(since + i)));
		memcpy(k->after, k->mix[t], sizeof k->after);
		for (int64_t u = 0; u <= t; u++) {
			vf dot = {};
			for (int64_t i = 0; i < N; i += WIDTH) dot += load(k->c[t] + i) * load(k->b[u] + i);
			k->mix[t][u] *= sum(dot);
		}
	}
}

// Moves LANES channels with the states h [N rounded up][LANES] over a chunk.
static inline void scan2_chunk(const chunk *k, int64_t states, vf (*h)[PARTS], vf (*dx)[PARTS], vf (*y)[PARTS]) {
	const float end = k->until[k->steps - 1];
	vf late[CHUNK][PARTS];
	for (int64_t t = 0; t < k->steps; t++) {
		for (int i = 0; i < PARTS; i++) {
			late[t][i] = k->after[t] * dx[t][i];
			y[t][i] = splat(0);
		}
	}
	for (int64_t n = 0; n < states; n += STATES) {
		vf r[STATES][PARTS];
		memcpy(r, h + n, sizeof r);
		for (int64_t t = 0; t < k->steps; t++) {
			for (int i = 0; i < PARTS; i++) {
				for (int j = 0; j < STATES; j++) y[t][i] += k->c[t][n + j] * r[j][i];
			}
		}
		for (int j = 0; j < STATES; j++) {
			for (int i = 0; i < PARTS; i++) r[j][i] *= end;
		}
		for (int64_t t = 0; t < k->steps; t++) {
			for (int i = 0; i < PARTS; i++) {
				for (int j = 0; j < STATES; j++) r[j][i] += k->b[t][n + j] * late[t][i];
			}
		}
		memcpy(h + n, r, sizeof r);
	}
	for (int64_t t = 0; t < k->steps; t++) {
		for (int i = 0; i < PARTS; i++) {
			y[t][i] *= k->until[t];
			for (int64_t u = 0; u <= t; u++) y[t][i] += k->mix[t][u] * dx[u][i];
		}
	}
}

// Several tokens: the states of each LANES channels lie together, [N][LANES].
static void scan2_tokens(const scan2 *s, int64_t row, int64_t head) {
	const int64_t N = s->states, P = s->head, states = (N + STATES - 1) / STATES * STATES;
	const float *from = s->h + (row * s->heads + head) * P * N;
	float *to = s->last + (row * s->heads + head) * P * N;
	vf h[MAX_HEAD / LANES][PARTS];
	float *flat = (float *)h;
	memset(h, 0, (size_t)((P + LANES - 1) / LANES * states) * sizeof h[0]);
	for (int64_t p = 0; p < P; p++) {
		for (int64_t i = 0; i < N; i++) flat[(p / LANES * states + i) * LANES + p % LANES] = from[p * N + i];
	}
	chunk k;
	memset(&k, 0, sizeof k);
	for (int64_t t0 = 0; t0 < s->steps; t0 += CHUNK) {
		load_chunk(&k, s, row, head, t0);
		for (int64_t at = 0; at < P; at += LANES) {
			vf dx[CHUNK][PARTS], y[CHUNK][PARTS];
			const int64_t first = ((row * s->steps + t0) * s->heads + head) * P + at, n = smaller(LANES, P - at);
			for (int64_t t = 0; t < k.steps; t++) load_lanes(dx[t], s->dx + first + t * s->heads * P, n);
			scan2_chunk(&k, states, h + at / LANES * states, dx, y);
			for (int64_t t = 0; t < k.steps; t++) store_lanes(s->y + first + t * s->heads * P, y[t], n);
		}
	}
	for (int64_t p = 0; p < P; p++) {
		for (int64_t i = 0; i < N; i++) to[p * N + i] = flat[(p / LANES * states + i) * LANES + p % LANES];
	}
}

// Moves the states h of a channel by one token: decay h + dx B. Gives C times them.
// Whole lines of the cache are written past it: they need not be read first, and the
// next token comes after more bytes of weights than a cache holds. The atomic count
// with which a stage ends makes them visible to other threads.
static inline float scan2_channel(int64_t N, float decay, float dx, const float *b, const float *c, const float *h, float *last) {
	const int whole = ((uintptr_t)last | (uintptr_t)N * sizeof *last) % 64 == 0;
	float y = 0;
	vf acc = {};
	int64_t i = 0;
	for (; i + WIDTH <= N; i += WIDTH) {
		vf v = decay * load(h + i) + dx * load(b + i);
		if (whole) {
			STREAM(last + i, v);
		} else {
			store(last + i, v);
		}
		acc += load(c + i) * v;
	}
	for (; i < N; i++) {
		last[i] = decay * h[i] + dx * b[i];
		y += c[i] * last[i];
	}
	return y + sum(acc);
}

// One token: one pass over the states as they lie.
static void scan2_token(const scan2 *s, int64_t row, int64_t head) {
	const int64_t N = s->states, H = s->heads, group = head / (H / s->groups);
	const float *b = s->b + (row * s->groups + group) * N, *c = s->c + (row * s->groups + group) * N;
	const float decay = exp_v(splat(s->da[row * H + head]))[0];
	for (int64_t p = 0; p < s->head; p++) {
		const int64_t channel = (row * H + head) * s->head + p;
		s->y[channel] = scan2_channel(N, decay, s->dx[channel], b, c, s->h + channel * N, s->last + channel * N);
	}
}

static void do_scan2(const scan2 *s, int64_t item) {
	if (s->steps == 1) {
		scan2_token(s, item / s->heads, item % s->heads);
	} else {
		scan2_tokens(s, item / s->heads, item % s->heads);
	}
}

#ifndef DOT8
// Plain C: int32 lanes hold at most 8 × 127 × 32767 each.
enum { WIDTH2 = 8 };
typedef struct { int32_t lane[WIDTH2]; } dot_acc;

static inline void DOT8(dot_acc *acc, const int8_t *w, const int16_t *q) {
	for (int i = 0; i < WIDTH2; i++) acc->lane[i] += (int32_t)w[i] * q[i];
}
static inline float dot_sum(const dot_acc *acc) {
	float s = 0;
	for (int i = 0; i < WIDTH2; i++) s += (float)acc->lane[i];
	return s;
}
#endif

// So many inputs cannot overflow a lane of int32, which takes DOT_RUN/WIDTH2 pairs
// of products of at most 128 × 32767.
enum { DOT_RUN = 128 * WIDTH2 };

// How many bytes of weights, int8 and others, are fetched ahead of their use: rows are
// so short that the processor foresees too little by itself.
enum { AHEAD = 1536, AHEAD_F32 = 1024 };

static inline float row_s8(const int8_t *w, const int16_t *q, int64_t n) {
	float y = 0;
	int64_t i = 0;
	while (i + WIDTH2 <= n) {
		const int64_t end = smaller(n, i + DOT_RUN);
		dot_acc even, odd;
		memset(&even, 0, sizeof even);
		memset(&odd, 0, sizeof odd);
		for (; i + 2 * WIDTH2 <= end; i += 2 * WIDTH2) {
			__builtin_prefetch(w + i + AHEAD);
			DOT8(&even, w + i, q + i);
			DOT8(&odd, w + i + WIDTH2, q + i + WIDTH2);
		}
		for (; i + WIDTH2 <= end; i += WIDTH2) DOT8(&even, w + i, q + i);
		y += dot_sum(&even) + dot_sum(&odd);
	}
	for (; i < n; i++) y += (float)((int32_t)w[i] * q[i]);
	return y;
}

static void do_product(const product *p, int64_t item) {
	const int64_t n = p->inputs, end = smaller((item + 1) * ROWS, p->outputs);
	for (int64_t o = item * ROWS; o < end; o++) {
		for (int64_t v = 0; v < p->vectors; v++) {
			p->y[v * p->outputs + o] = row_s8(p->w + o * n, p->q + v * n, n) * (p->step[v] * p->scale[o]);
		}
	}
}

static inline void conv_lanes(const conv *s, int64_t K, int64_t row, int64_t from, int64_t to, int64_t at, int64_t n) {
	const int64_t C = s->channels;
	const float *x = s->x + row * s->steps * s->columns + s->first + at, *state = s->state + row * (K - 1) * C + at;
	const float *mask = s->mask + row * s->steps;
	vf w[MAX_TAPS][PARTS] = {}, past[MAX_TAPS][PARTS], bias[PARTS]; // past[k]: the input that tap k meets
	float *taps = (float *)w;
	for (int64_t c = 0; c < n; c++) {
		for (int64_t k = 0; k < K; k++) taps[k * LANES + c] = s->w[(at + c) * K + k];
	}
	load_lanes(bias, s->bias + at, n);
	for (int64_t k = 0; k + 1 < K; k++) {
		const int64_t t = from - (K - 1) + k;
		if (t >= 0 && mask[t] == 0) {
			memset(past[k], 0, sizeof past[k]);
		} else {
			load_lanes(past[k], t < 0 ? state + (t + K - 1) * C : x + t * s->columns, n);
		}
	}
	for (int64_t t = from; t < to; t++) {
		vf y[PARTS] = {};
		if (mask[t] == 0) {
			memset(past[K - 1], 0, sizeof past[K - 1]);
		} else {
			load_lanes(past[K - 1], x + t * s->columns, n);
		}
		for (int i = 0; i < PARTS; i++) {
			y[i] = bias[i];
			for (int64_t k = 0; k < K; k++) y[i] += w[k][i] * past[k][i];
			y[i] = mask[t] == 0 ? (vf){} : y[i] / (1.0f + exp_v((vf){} - y[i]));
			for (int64_t k = 0; k + 1 < K; k++) past[k][i] = past[k + 1][i];
		}
		store_lanes(s->y + (row * s->steps + t) * C + at, y, n);
	}
}

static void do_conv(const conv *s, int64_t item) {
	const int64_t blocks = (s->steps + CONV_STEPS - 1) / CONV_STEPS;
	const int64_t row = item / blocks, from = item % blocks * CONV_STEPS, to = smaller(from + CONV_STEPS, s->steps);
	int64_t at = 0;
	for (; s->taps == 4 && at + LANES <= s->channels; at += LANES) conv_lanes(s, 4, row, from, to, at, LANES);
	for (; at < s->channels; at += LANES) conv_lanes(s, s->taps, row, from, to, at, smaller(LANES, s->channels - at));
}

static float do_quantize(const float *x, int64_t n, int16_t *q) {
	typedef int16_t vs __attribute__((vector_size(2 * WIDTH)));
	vf most = {}, odd = {}; // odd: zeros, or no number
	int64_t i = 0;
	for (; i + WIDTH <= n; i += WIDTH) {
		vf v = load(x + i);
		odd += v * 0.0f;
		most = MAX_V(MAX_V(most, v), (vf){} - v);
	}
	float peak = sum(odd);
	for (int k = 0; k < WIDTH; k++) peak = most[k] > peak ? most[k] : peak;
	for (int64_t j = i; j < n; j++) {
		peak += x[j] * 0.0f;
		const float size = x[j] < 0 ? -x[j] : x[j];
		peak = size > peak ? size : peak;
	}
	const float inverse = peak > 0 ? 32767.0f / peak : 0;
	for (i = 0; i + WIDTH <= n; i += WIDTH) {
		vs v = __builtin_convertvector((vi)(load(x + i) * inverse + 12582912.0f) << 16 >> 16, vs);
		memcpy(q + i, &v, sizeof v);
	}
	for (; i < n; i++) q[i] = (int16_t)(x[i] * inverse + (x[i] < 0 ? -0.5f : 0.5f));
	return peak / 32767.0f;
}

#include "layer_body.h"

#define JOIN(a, b) a##b
#define NAME(set) JOIN(kernels_, set)
#define QUOTE(x) #x
#define TEXT(x) QUOTE(x)

const kernels NAME(SET) = {TEXT(SET), do_scan1, do_scan2, do_product, do_conv, layer_items, do_layer, do_quantize};
