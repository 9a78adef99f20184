// Compares every set of kernels that this processor has with plain loops in
// double, on random sizes. TestKernels builds it with the address sanitizer, so
// that a byte read or written outside an array ends it.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../compute.h"

static int failures;

static int64_t between(int64_t low, int64_t high) { return low + rand() % (high - low + 1); }

// At multiples of 64 bytes, as XLA's arrays are.
static float *randoms(int64_t n, float low, float high) {
	void *at = NULL;
	if (posix_memalign(&at, 64, (size_t)n * sizeof(float)) != 0) abort();
	float *p = at;
	for (int64_t i = 0; i < n; i++) p[i] = low + (high - low) * ((float)rand() / (float)RAND_MAX);
	return p;
}

// Compares got with want, frees both.
static void compare(const char *set, const char *what, float *got, double *want, int64_t n, double tolerance) {
	double worst = 0, top = 1;
	for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(want[i]));
	for (int64_t i = 0; i < n; i++) {
		double off = fabs(got[i] - want[i]) / top;
		if (!(off <= worst)) worst = off;
	}
	if (!(worst <= tolerance)) {
		printf("%s %s: off by %g\n", set, what, worst);
		failures++;
	}
	free(got);
	free(want);
}

static void check_scan1(const kernels *k) {
	const int64_t B = between(1, 3), T = between(1, 40), C = between(1, 50), N = between(1, 17);
	float *h = randoms(B * N * C, -1, 1), *delta = randoms(B * T * C, 0, 2), *dx = randoms(B * T * C, -1, 1);
	float *a = randoms(N * C, -80, 0), *b = randoms(B * T * N, -1, 1), *c = randoms(B * T * N, -1, 1);
	float *y = randoms(B * T * C, 9, 9), *last = randoms(B * N * C, 9, 9);
	const scan1 s = {B, T, C, N, h, delta, dx, a, b, c, y, last};
	for (int64_t i = 0; i < B * ((C + LANES - 1) / LANES); i++) k->scan1(&s, i);
	double *wy = calloc((size_t)(B * T * C), sizeof *wy), *wl = calloc((size_t)(B * N * C), sizeof *wl);
	for (int64_t r = 0; r < B; r++) {
		for (int64_t n = 0; n < N; n++) {
			for (int64_t i = 0; i < C; i++) {
				double v = h[(r * N + n) * C + i];
				for (int64_t t = r * T; t < (r + 1) * T; t++) {
					v = exp((double)delta[t * C + i] * a[n * C + i]) * v + (double)b[t * N + n] * dx[t * C + i];
					wy[t * C + i] += c[t * N + n] * v;
				}
				wl[(r * N + n) * C + i] = v;
			}
		}
	}
	compare(k->name, "scan1 y", y, wy, B * T * C, 2e-6);
	compare(k->name, "scan1 last", last, wl, B * N * C, 2e-6);
	free(h), free(delta), free(dx), free(a), free(b), free(c);
}

static void check_scan2(const kernels *k) {
	const int64_t B = between(1, 2), T = rand() % 3 ? between(1, 50) : 1, G = between(1, 2), H = G * between(1, 3), P = between(1, 40);
	const int64_t N = rand() % 2 ? 16 * between(1, 3) : between(1, 40);
	float *h = randoms(B * H * P * N, -1, 1), *da = randoms(B * T * H, -3, 0), *dx = randoms(B * T * H * P, -1, 1);
	float *b = randoms(B * T * G * N, -1, 1), *c = randoms(B * T * G * N, -1, 1);
	float *y = randoms(B * T * H * P, 9, 9), *last = randoms(B * H * P * N, 9, 9);
	if (rand() % 4 == 0) da[between(0, B * T * H - 1)] = -1e4f;
	const scan2 s = {B, T, G, H, P, N, h, da, dx, b, c, y, last};
	for (int64_t i = 0; i < B * H; i++) k->scan2(&s, i);
	double *wy = calloc((size_t)(B * T * H * P), sizeof *wy), *wl = calloc((size_t)(B * H * P * N), sizeof *wl);
	for (int64_t row = 0; row < B * H * P * N; row++) {
		const int64_t n = row % N, p = row / N % P, head = row / N / P % H, r = row / N / P / H, g = head / (H / G);
		double v = h[row];
		for (int64_t t = r * T; t < (r + 1) * T; t++) {
			v = exp(da[t * H + head]) * v + (double)b[(t * G + g) * N + n] * dx[(t * H + head) * P + p];
			wy[(t * H + head) * P + p] += c[(t * G + g) * N + n] * v;
		}
		wl[row] = v;
	}
	compare(k->name, "scan2 y", y, wy, B * T * H * P, 4e-6);
	compare(k->name, "scan2 last", last, wl, B * H * P * N, 4e-6);
	free(h), free(da), free(dx), free(b), free(c);
}

static void check_product(const kernels *k) {
	const int64_t V = between(1, MAX_VECTORS), I = rand() % 4 ? between(1, 200) : between(4000, 9000), O = between(1, 40);
	float *x = randoms(V * I, -3, 3), *scale = randoms(O, 0.5, 1);
	int8_t *q = malloc((size_t)(O * I));
	int16_t *xq = malloc((size_t)(V * I) * sizeof *xq);
	for (int64_t i = 0; i < O * I; i++) q[i] = (int8_t)(rand() % 3 ? between(-128, 127) : 127);
	double *want = calloc((size_t)(V * O), sizeof *want);
	for (int64_t v = 0; v < V; v++) {
		for (int64_t o = 0; o < O; o++) {
			for (int64_t i = 0; i < I; i++) {
				want[v * O + o] += (double)q[o * I + i] * x[v * I + i] * scale[o];
			}
		}
	}
	product p = {V, I, O, q, scale, xq, {0}, randoms(V * O, 9, 9)};
	for (int64_t v = 0; v < V; v++) p.step[v] = k->quantize(x + v * I, I, xq + v * I);
	for (int64_t i = 0; i < (O + ROWS - 1) / ROWS; i++) k->product(&p, i);
	compare(k->name, "product", p.y, want, V * O, 1e-4);

	x[I - 1] = rand() % 2 ? NAN : INFINITY; // what is no number must not get lost
	if (!isnan(k->quantize(x, I, xq))) {
		printf("%s quantize: takes %g for a number\n", k->name, x[I - 1]);
		failures++;
	}
	memset(x, 0, (size_t)I * sizeof *x);
	if (k->quantize(x, I, xq) != 0 || xq[0] != 0) {
		printf("%s quantize: zeros are not zero\n", k->name);
		failures++;
	}
	free(x), free(scale), free(q), free(xq);
}

static void check_conv(const kernels *k) {
	const int64_t B = between(1, 2), T = between(1, 70), C = between(1, 40), K = between(1, 5), first = between(0, 9);
	const int64_t columns = first + C + between(0, 9);
	float *x = randoms(B * T * columns, -1, 1), *mask = randoms(B * T, 1, 1), *state = randoms(B * (K - 1) * C + 1, -1, 1);
	float *w = randoms(C * K, -1, 1), *bias = randoms(C, -1, 1), *y = randoms(B * T * C, 9, 9);
	for (int64_t i = 0; i < B * T; i++) {
		if (rand() % 4) continue;
		mask[i] = 0;
		x[i * columns + first] = NAN;
	}
	const conv s = {B, T, C, K, columns, first, x, mask, state, w, bias, y};
	for (int64_t i = 0; i < B * ((T + CONV_STEPS - 1) / CONV_STEPS); i++) k->conv(&s, i);
	double *want = calloc((size_t)(B * T * C), sizeof *want);
	for (int64_t i = 0; i < B * T * C; i++) {
		const int64_t c = i % C, t = i / C % T, r = i / C / T;
		if (mask[r * T + t] == 0) continue;
		double v = bias[c];
		for (int64_t j = 0; j < K; j++) {
			const int64_t at = t - (K - 1) + j;
			if (at >= 0 && mask[r * T + at] == 0) continue;
			v += (double)w[c * K + j] * (at < 0 ? state[(r * (K - 1) + at + K - 1) * C + c] : x[(r * T + at) * columns + first + c]);
		}
		want[i] = v / (1 + exp(-v));
	}
	compare(k->name, "conv", y, want, B * T * C, 2e-6);
	free(x), free(mask), free(state), free(w), free(bias);
}

// Random weights of one type; want gets what they mean in f32.
static matrix weights(int type, int64_t outputs, int64_t inputs, double **want) {
	const int64_t n = outputs * inputs;
	matrix m = {type, outputs, inputs, NULL, NULL};
	float *w = randoms(n, -0.3f, 0.3f), *scale = randoms(outputs, 0.001f, 0.003f);
	uint16_t *half = malloc((size_t)n * sizeof *half);
	int8_t *byte = malloc((size_t)n);
	*want = malloc((size_t)n * sizeof **want);
	for (int64_t i = 0; i < n; i++) {
		uint32_t bits;
		memcpy(&bits, w + i, sizeof bits);
		half[i] = (uint16_t)(bits >> 16);
		byte[i] = (int8_t)between(-127, 127);
		bits = type == BF16 ? bits & 0xffff0000u : bits;
		float v;
		memcpy(&v, &bits, sizeof v);
		(*want)[i] = type == S8 ? byte[i] * (double)scale[i / inputs] : v;
	}
	m.w = type == S8 ? (void *)byte : type == BF16 ? (void *)half : (void *)w;
	if (type == S8) m.scale = scale; else free(scale);
	if (type != F32) free(w);
	if (type != BF16) free(half);
	if (type != S8) free(byte);
	return m;
}

static void times(const double *w, int64_t outputs, int64_t inputs, const double *x, double *y) {
	for (int64_t o = 0; o < outputs; o++) {
		y[o] = 0;
		for (int64_t i = 0; i < inputs; i++) y[o] += w[o * inputs + i] * x[i];
	}
}

static void norm(double *x, int64_t n, double eps) {
	double s = 0;
	for (int64_t i = 0; i < n; i++) s += x[i] * x[i];
	for (int64_t i = 0; i < n; i++) x[i] /= sqrt(s / (double)n + eps);
}

// A layer of random sizes, but for what its mixer alone has; free_layer frees it.
static layer random_layer(int kind, int64_t inner, int64_t heads, int64_t groups) {
	layer s = {.kind = kind, .width = between(1, 70), .inner = inner, .states = rand() % 2 ? 16 : between(1, 20), .taps = between(1, 5), .eps = 1e-2f,
		.heads = heads, .groups = groups};
	const int64_t d = s.width, N = s.states, K = s.taps, C = s.channels = inner + 2 * groups * N, rates = heads > 0 ? heads : inner;
	s.x = randoms(d, -2, 2), s.norm = randoms(d, 0.5, 2), s.conv = randoms((K - 1) * C + 1, -1, 1), s.conv_w = randoms(C * K, -1, 1);
	s.conv_b = randoms(C, -1, 1), s.dt_bias = randoms(rates, -9, 3), s.a_log = randoms(heads > 0 ? heads : inner * N, -1, 4);
	s.skip = randoms(rates, -1, 1), s.h = randoms(inner * N, -1, 1);
	s.y = randoms(d, 9, 9), s.last_conv = randoms((K - 1) * C, 9, 9), s.last = randoms(inner * N, 9, 9);
	s.normed = randoms(d, 9, 9), s.u = randoms(C, 9, 9), s.z = randoms(inner + heads, 9, 9);
	s.q = malloc((size_t)(d > inner ? d : inner) * sizeof *s.q);
	return s;
}

// Frees but the results.
static void free_layer(layer *s) {
	const void *used[] = {s->in.w, s->in.scale, s->x_proj.w, s->dt_proj.w, s->out.w, s->out.scale, s->x, s->norm, s->conv, s->conv_w, s->conv_b,
		s->dt_bias, s->a_log, s->skip, s->h, s->normed, s->u, s->z, s->q, s->dbc, s->mixer_norm};
	for (size_t i = 0; i < sizeof used / sizeof *used; i++) free((void *)used[i]);
}

static void run_layer(const kernels *k, layer *s) {
	for (int i = 0; i < LAYER_STAGES; i++) {
		for (int64_t item = k->layer_items(s, i) - 1; item >= 0; item--) k->layer(s, i, item);
	}
}

// Writes in_proj(norm(x)).
static void enter(const layer *s, const double *w_in, double *all) {
	double normed[70];
	for (int64_t i = 0; i < s->width; i++) normed[i] = s->x[i];
	norm(normed, s->width, s->eps);
	for (int64_t i = 0; i < s->width; i++) normed[i] *= s->norm[i];
	times(w_in, s->in.outputs, s->width, normed, all);
}

// The convolution of u in place; gives its states.
static double *convolve(const layer *s, double *u) {
	const int64_t C = s->channels, K = s->taps;
	double *last = calloc((size_t)((K - 1) * C + 1), sizeof *last);
	for (int64_t c = 0; c < C; c++) {
		double v = s->conv_b[c] + s->conv_w[c * K + K - 1] * u[c];
		for (int64_t t = 0; t + 1 < K; t++) {
			v += (double)s->conv_w[c * K + t] * s->conv[t * C + c];
			last[t * C + c] = t + 2 < K ? s->conv[(t + 1) * C + c] : u[c];
		}
		u[c] = v / (1 + exp(-v));
	}
	return last;
}

// Compares the results with out_proj(y) and the states, frees all.
static void compare_layer(const kernels *k, layer *s, const double *w_out, const double *y, double *last_conv, double *last) {
	double *want = calloc((size_t)s->width, sizeof *want);
	times(w_out, s->width, s->inner, y, want);
	for (int64_t i = 0; i < s->width; i++) want[i] += s->x[i];
	const double tolerance = s->in.type == S8 || s->out.type == S8 ? 2e-4 : 4e-6;
	const char *what = s->kind == MAMBA2 ? "layer2" : "layer1";
	compare(k->name, what, s->y, want, s->width, tolerance);
	compare(k->name, what, s->last_conv, last_conv, (s->taps - 1) * s->channels, tolerance);
	compare(k->name, what, s->last, last, s->inner * s->states, tolerance);
	free_layer(s);
}

static double silu(double x) { return x / (1 + exp(-x)); }

static void check_layer1(const kernels *k) {
	layer s = random_layer(MAMBA1, between(1, 70), 0, 0);
	const int64_t C = s.inner, N = s.states, R = s.rank = between(1, 20), all = R + 2 * N;
	double *w_in, *w_x, *w_dt, *w_out, u[140], dbc[60], delta[70];
	s.in = weights(rand() % 3, 2 * C, s.width, &w_in), s.x_proj = weights(rand() % 2, all, C, &w_x);
	s.dt_proj = weights(rand() % 2, C, R, &w_dt), s.out = weights(rand() % 3, s.width, C, &w_out);
	s.mixer_eps = rand() % 2 ? 1e-2f : -1, s.dbc = randoms(all, 9, 9);
	run_layer(k, &s);
	enter(&s, w_in, u);
	double *last_conv = convolve(&s, u), *last = calloc((size_t)(N * C), sizeof *last);
	times(w_x, all, C, u, dbc);
	if (s.mixer_eps >= 0) norm(dbc, R, s.mixer_eps), norm(dbc + R, N, s.mixer_eps), norm(dbc + R + N, N, s.mixer_eps);
	times(w_dt, C, R, dbc, delta);
	for (int64_t c = 0; c < C; c++) {
		const double step = log1p(exp(delta[c] + s.dt_bias[c]));
		double v = s.skip[c] * u[c];
		for (int64_t n = 0; n < N; n++) {
			last[n * C + c] = exp(-step * exp(s.a_log[c * N + n])) * s.h[n * C + c] + step * u[c] * dbc[R + n];
			v += last[n * C + c] * dbc[R + N + n];
		}
		u[c] = v * silu(u[C + c]);
	}
	compare_layer(k, &s, w_out, u, last_conv, last);
	free(w_in), free(w_x), free(w_dt), free(w_out);
}

static void check_layer2(const kernels *k) {
	const int64_t G = between(1, 3), H = G * between(1, 3), P = between(1, 40), di = H * P;
	layer s = random_layer(MAMBA2, di, H, G);
	const int64_t N = s.states, C = s.channels;
	double *w_in, *w_out, *all = calloc((size_t)(di + C + H), sizeof *all), *z = all, *u = all + di, *dt = u + C;
	s.in = weights(rand() % 3, di + C + H, s.width, &w_in), s.out = weights(rand() % 3, s.width, di, &w_out);
	s.norm_group = (int64_t[]){0, di, di / G}[rand() % 3], s.norm_first = s.norm_group > 0 && rand() % 2, s.mixer_norm = randoms(di, 0.5, 2);
	s.least = rand() % 2 ? 0 : 0.1f, s.most = rand() % 2 ? 3e38f : 0.8f;
	run_layer(k, &s);
	enter(&s, w_in, all);
	double *last_conv = convolve(&s, u), *last = calloc((size_t)(di * N), sizeof *last);
	for (int64_t i = 0; i < di; i++) {
		const int64_t head = i / P;
		const double *b = u + di + head / (H / G) * N, *c = b + G * N;
		const double step = fmin(fmax(log1p(exp(dt[head] + s.dt_bias[head])), s.least), s.most);
		double v = s.skip[head] * u[i];
		for (int64_t n = 0; n < N; n++) {
			last[i * N + n] = exp(-step * exp(s.a_log[head])) * s.h[i * N + n] + step * u[i] * b[n];
			v += last[i * N + n] * c[n];
		}
		u[i] = s.norm_first ? v : v * silu(z[i]);
	}
	for (int64_t at = 0; s.norm_group > 0 && at < di; at += s.norm_group) norm(u + at, s.norm_group, s.eps);
	for (int64_t i = 0; i < di; i++) {
		if (s.norm_group > 0) u[i] *= s.mixer_norm[i];
		if (s.norm_first) u[i] *= silu(z[i]);
	}
	compare_layer(k, &s, w_out, u, last_conv, last);
	free(w_in), free(w_out), free(all);
}

int main(void) {
	const kernels *sets[3] = {&kernels_plain};
	int n = 1;
#if defined(__x86_64__) && !defined(__clang__)
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets[n++] = &kernels_avx2;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) sets[n++] = &kernels_avx512;
#endif
	for (int i = 0; i < n; i++) {
		for (int round = 0; round < 60; round++) {
			check_scan1(sets[i]);
			check_scan2(sets[i]);
			check_product(sets[i]);
			check_conv(sets[i]);
			check_layer1(sets[i]);
			check_layer2(sets[i]);
		}
		printf("%s checked\n", sets[i]->name);
	}
	return failures != 0;
}
