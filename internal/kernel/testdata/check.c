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

static float *randoms(int64_t n, float low, float high) {
	float *p = malloc((size_t)n * sizeof *p);
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

static void check_layer1(const kernels *k) {
	const int64_t d = between(1, 70), C = between(1, 70), N = between(1, 20), R = between(1, 20), K = between(1, 5), all = R + 2 * N;
	double *w_in, *w_x, *w_dt, *w_out, buffer[70 + 140 + 60 + 70], *normed = buffer, *u = buffer + 70, *dbc = u + 140, *delta = dbc + 60;
	const matrix in = weights(rand() % 3, 2 * C, d, &w_in), x_proj = weights(rand() % 2, all, C, &w_x);
	const matrix dt_proj = weights(rand() % 2, C, R, &w_dt), out = weights(rand() % 3, d, C, &w_out);
	float *x = randoms(d, -2, 2), *scale = randoms(d, 0.5, 2), *conv = randoms((K - 1) * C + 1, -1, 1), *conv_w = randoms(C * K, -1, 1);
	float *conv_b = randoms(C, -1, 1), *bias = randoms(C, -9, 3), *a_log = randoms(C * N, -1, 4), *skip = randoms(C, -1, 1), *h = randoms(N * C, -1, 1);
	float *y = randoms(d, 9, 9), *last_conv = randoms((K - 1) * C, 9, 9), *last = randoms(N * C, 9, 9), *scratch = randoms(d + 2 * C + all, 9, 9);
	int16_t *q = malloc((size_t)(d > C ? d : C) * sizeof *q);
	layer1 s = {d, C, N, R, K, 1e-2f, rand() % 2 ? 1e-2f : -1, in, x_proj, dt_proj, out, x, scale, conv, conv_w, conv_b, bias, a_log, skip, h,
		y, last_conv, last, scratch, scratch + d, scratch + d + C, scratch + d + 2 * C, q, 0};
	for (int i = 0; i < LAYER1_STAGES; i++) {
		for (int64_t item = k->layer1_items(&s, i) - 1; item >= 0; item--) k->layer1(&s, i, item);
	}
	double *wy = calloc((size_t)d, sizeof *wy), *wc = calloc((size_t)((K - 1) * C + 1), sizeof *wc), *wl = calloc((size_t)(N * C), sizeof *wl);
	for (int64_t i = 0; i < d; i++) normed[i] = x[i];
	norm(normed, d, s.eps);
	for (int64_t i = 0; i < d; i++) normed[i] *= scale[i];
	times(w_in, 2 * C, d, normed, u);
	for (int64_t c = 0; c < C; c++) {
		double v = conv_b[c] + conv_w[c * K + K - 1] * u[c];
		for (int64_t t = 0; t + 1 < K; t++) {
			v += (double)conv_w[c * K + t] * conv[t * C + c];
			wc[t * C + c] = t + 2 < K ? conv[(t + 1) * C + c] : u[c];
		}
		u[c] = v / (1 + exp(-v));
	}
	times(w_x, all, C, u, dbc);
	if (s.mixer_eps >= 0) norm(dbc, R, s.mixer_eps), norm(dbc + R, N, s.mixer_eps), norm(dbc + R + N, N, s.mixer_eps);
	times(w_dt, C, R, dbc, delta);
	for (int64_t c = 0; c < C; c++) {
		const double step = log1p(exp(delta[c] + bias[c])), z = u[C + c];
		double v = skip[c] * u[c];
		for (int64_t n = 0; n < N; n++) {
			wl[n * C + c] = exp(-step * exp(a_log[c * N + n])) * h[n * C + c] + step * u[c] * dbc[R + n];
			v += wl[n * C + c] * dbc[R + N + n];
		}
		u[c] = v * z / (1 + exp(-z));
	}
	times(w_out, d, C, u, wy);
	for (int64_t i = 0; i < d; i++) wy[i] += x[i];
	const double tolerance = in.type == S8 || out.type == S8 ? 2e-4 : 4e-6;
	compare(k->name, "layer1 y", y, wy, d, tolerance);
	compare(k->name, "layer1 convolution", last_conv, wc, (K - 1) * C, tolerance);
	compare(k->name, "layer1 last", last, wl, N * C, tolerance);
	const void *used[] = {in.w, in.scale, x_proj.w, dt_proj.w, out.w, out.scale, w_in, w_x, w_dt, w_out, x, scale, conv, conv_w, conv_b, bias,
		a_log, skip, h, scratch, q};
	for (size_t i = 0; i < sizeof used / sizeof *used; i++) free((void *)used[i]);
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
		}
		printf("%s checked\n", sets[i]->name);
	}
	return failures != 0;
}
