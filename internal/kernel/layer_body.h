// A layer for one token, stage by stage; body.h includes it.

static inline float row_f32(const float *w, const float *x, int64_t n) {
	vf sums[4] = {};
	int64_t i = 0;
	for (; i + 4 * WIDTH <= n; i += 4 * WIDTH) {
		for (int k = 0; k < 4 * WIDTH; k += 16) __builtin_prefetch((const char *)(w + i + k) + AHEAD_F32);
		for (int k = 0; k < 4; k++) sums[k] += load(w + i + k * WIDTH) * load(x + i + k * WIDTH);
	}
	for (; i + WIDTH <= n; i += WIDTH) sums[0] += load(w + i) * load(x + i);
	float y = sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
	for (; i < n; i++) y += w[i] * x[i];
	return y;
}

static inline vf load_bf16(const uint16_t *p) {
	typedef uint16_t vh __attribute__((vector_size(2 * WIDTH)));
	vh v;
	memcpy(&v, p, sizeof v);
	return (vf)(__builtin_convertvector(v, vi) << 16);
}

static inline float row_bf16(const uint16_t *w, const float *x, int64_t n) {
	vf sums[2] = {};
	int64_t i = 0;
	for (; i + 2 * WIDTH <= n; i += 2 * WIDTH) {
		__builtin_prefetch((const char *)(w + i) + AHEAD_F32);
		for (int k = 0; k < 2; k++) sums[k] += load_bf16(w + i + k * WIDTH) * load(x + i + k * WIDTH);
	}
	float y = sum(sums[0] + sums[1]);
	for (; i < n; i++) {
		const uint32_t bits = (uint32_t)w[i] << 16;
		float v;
		memcpy(&v, &bits, sizeof v);
		y += v * x[i];
	}
	return y;
}

// Row o of m times x, which q holds in units of step if m is int8.
static inline float row(const matrix *m, int64_t o, const float *x, const int16_t *q, float step) {
	const int64_t n = m->inputs;
	switch (m->type) {
	case S8: return row_s8((const int8_t *)m->w + o * n, q, n) * (step * m->scale[o]);
	case BF16: return row_bf16((const uint16_t *)m->w + o * n, x, n);
	default: return row_f32((const float *)m->w + o * n, x, n);
	}
}

// Divides x by its root mean square.
static void normalize(const float *x, int64_t n, float eps, float *y) {
	vf squares = {};
	int64_t i = 0;
	for (; i + WIDTH <= n; i += WIDTH) squares += load(x + i) * load(x + i);
	float s = sum(squares);
	for (; i < n; i++) s += x[i] * x[i];
	const float by = 1 / __builtin_sqrtf(s / (float)n + eps);
	for (i = 0; i < n; i++) y[i] = x[i] * by;
}

static inline vf silu_v(vf x) { return x / (1.0f + exp_v((vf){} - x)); }

// log(1 + e^x), as 2 artanh(e/(2+e)) for the logarithm.
static inline vf softplus_v(vf x) {
	const vf over = MAX_V((vf){}, x), e = exp_v(x - 2 * over); // e^-|x|
	const vf s = e / (2.0f + e), s2 = s * s;
	vf p = splat(2.0f / 15);
	for (int i = 13; i > 0; i -= 2) p = p * s2 + 2.0f / (float)i;
	return over + p * s;
}

// Multiplies y by silu(z).
static void gate(float *y, const float *z, int64_t n) {
	for (int64_t at = 0; at < n; at += LANES) {
		vf v[PARTS], by[PARTS];
		load_lanes(v, y + at, smaller(LANES, n - at));
		load_lanes(by, z + at, smaller(LANES, n - at));
		for (int k = 0; k < PARTS; k++) v[k] *= silu_v(by[k]);
		store_lanes(y + at, v, smaller(LANES, n - at));
	}
}

// Channels [at, at+n) of in_proj and the convolution.
static void layer_conv(const layer *s, int64_t at, int64_t n) {
	const int64_t C = s->channels, K = s->taps, rows = s->kind == MAMBA2 ? s->inner : 0;
	for (int64_t i = at; i < at + n; i++) s->u[i] = row(&s->in, rows + i, s->normed, s->q, s->step);
	for (int64_t k = 0; k + 1 < K; k++) {
		memcpy(s->last_conv + k * C + at, (k + 2 < K ? s->conv + (k + 1) * C : s->u) + at, (size_t)n * sizeof(float));
	}
	static const float token = 1;
	const conv c = {1, 1, C, K, C, 0, s->u, &token, s->conv, s->conv_w, s->conv_b, s->u};
	if (K == 4 && n == LANES) {
		conv_lanes(&c, 4, 0, 0, 1, at, LANES);
	} else {
		conv_lanes(&c, K, 0, 0, 1, at, n);
	}
}

// Entries [at, at+n) of z, and of Mamba-2's dt behind it: the other rows of in_proj.
static void layer_gate(const layer *s, int64_t at, int64_t n) {
	for (int64_t i = at; i < at + n; i++) {
		const int64_t after = s->kind == MAMBA1 || i >= s->inner; // the rows of the convolution
		s->z[i] = row(&s->in, after * s->channels + i, s->normed, s->q, s->step);
	}
}

// Channels [at, at+n) of dt_proj, scan and gate.
static inline void layer1_scan(const layer *s, int64_t at, int64_t n) {
	const int64_t C = s->channels, N = s->states, R = s->rank;
	const float *b = s->dbc + R, *c = b + N;
	float dts[LANES] = {}, a_logs[MAX_STATES][LANES];
	for (int64_t i = 0; i < n; i++) {
		dts[i] = row(&s->dt_proj, at + i, s->dbc, NULL, 0);
		for (int64_t j = 0; j < N; j++) a_logs[j][i] = s->a_log[(at + i) * N + j];
	}
	vf delta[PARTS], u[PARTS], z[PARTS], skip[PARTS], bias[PARTS], y[PARTS];
	load_lanes(u, s->u + at, n);
	load_lanes(z, s->z + at, n);
	load_lanes(skip, s->skip + at, n);
	load_lanes(bias, s->dt_bias + at, n);
	for (int k = 0; k < PARTS; k++) {
		delta[k] = softplus_v(load(dts + k * WIDTH) + bias[k]);
		y[k] = skip[k] * u[k];
		u[k] *= delta[k];
		delta[k] *= -log2_e;
	}
	for (int64_t j = 0; j < N; j++) {
		vf h[PARTS];
		load_lanes(h, s->h + j * C + at, n);
		for (int k = 0; k < PARTS; k++) {
			h[k] = exp2_v(delta[k] * exp_v(load(a_logs[j] + k * WIDTH))) * h[k] + b[j] * u[k];
			y[k] += c[j] * h[k];
		}
		store_lanes(s->last + j * C + at, h, n);
	}
	for (int k = 0; k < PARTS; k++) y[k] *= silu_v(z[k]);
	store_lanes(s->u + at, y, n);
}

// Channels [first, first+n) of a head, n <= LANES: scan and, if no norm comes first, gate.
static void layer2_scan(const layer *s, int64_t head, int64_t first, int64_t n) {
	const int64_t N = s->states, at = head * (s->inner / s->heads) + first, group = head / (s->heads / s->groups);
	const float *b = s->u + s->inner + group * N, *c = b + s->groups * N;
	float delta = softplus_v(splat(s->z[s->inner + head] + s->dt_bias[head]))[0];
	delta = delta < s->least ? s->least : delta > s->most ? s->most : delta;
	const float decay = exp_v(-delta * exp_v(splat(s->a_log[head])))[0];
	for (int64_t i = at; i < at + n; i++) {
		const float x = s->u[i];
		s->u[i] = s->skip[head] * x + scan2_channel(N, decay, delta * x, b, c, s->h + i * N, s->last + i * N);
	}
	if (!s->norm_first) gate(s->u + at, s->z + at, n);
}

// Mamba-2's norm over groups of channels.
static void layer2_norm(const layer *s) {
	for (int64_t at = 0; at < s->inner; at += s->norm_group) {
		normalize(s->u + at, s->norm_group, s->eps, s->u + at);
	}
	for (int64_t i = 0; i < s->inner; i++) s->u[i] *= s->mixer_norm[i];
	if (s->norm_first) gate(s->u, s->z, s->inner);
}

enum { ENTER, IN, X_PROJ, MIXER_NORM, SCAN, LEAVE, OUT };

static inline int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

static int64_t layer_items(const layer *s, int stage) {
	switch (stage) {
	case ENTER: return 1;
	case IN: return pieces(s->channels, LANES) + pieces(s->inner + s->heads, LANES);
	case X_PROJ: return s->kind == MAMBA1 ? pieces(s->x_proj.outputs, FEW_ROWS) : 0;
	case MIXER_NORM: return s->kind == MAMBA1 && s->mixer_eps >= 0;
	case SCAN: return s->kind == MAMBA1 ? pieces(s->inner, LANES) : s->heads * pieces(s->inner / s->heads, LANES);
	case LEAVE: return s->out.type == S8 || s->norm_group > 0;
	default: return pieces(s->width, ROWS);
	}
}

static void do_layer_in(const layer *s, int64_t item) {
	const int64_t C = s->channels, entries = s->inner + s->heads, blocks = pieces(C, LANES);
	if (item < blocks) {
		layer_conv(s, item * LANES, smaller(LANES, C - item * LANES));
	} else {
		layer_gate(s, (item - blocks) * LANES, smaller(LANES, entries - (item - blocks) * LANES));
	}
}

static void do_layer_scan(const layer *s, int64_t item) {
	if (s->kind == MAMBA2) {
		const int64_t P = s->inner / s->heads, blocks = pieces(P, LANES), at = item % blocks * LANES;
		layer2_scan(s, item / blocks, at, smaller(LANES, P - at));
		return;
	}
	const int64_t at = item * LANES, n = smaller(LANES, s->inner - at);
	if (n == LANES) {
		layer1_scan(s, at, LANES);
	} else {
		layer1_scan(s, at, n);
	}
}

static void do_layer(layer *s, int stage, int64_t item) {
	const int64_t N = s->states, R = s->rank;
	switch (stage) {
	case ENTER:
		normalize(s->x, s->width, s->eps, s->normed);
		for (int64_t i = 0; i < s->width; i++) s->normed[i] *= s->norm[i];
		if (s->in.type == S8) s->step = do_quantize(s->normed, s->width, s->q);
		break;
	case IN: do_layer_in(s, item); break;
	case X_PROJ:
		for (int64_t o = item * FEW_ROWS; o < smaller((item + 1) * FEW_ROWS, R + 2 * N); o++) s->dbc[o] = row(&s->x_proj, o, s->u, NULL, 0);
		break;
	case MIXER_NORM:
		normalize(s->dbc, R, s->mixer_eps, s->dbc);
		normalize(s->dbc + R, N, s->mixer_eps, s->dbc + R);
		normalize(s->dbc + R + N, N, s->mixer_eps, s->dbc + R + N);
		break;
	case SCAN: do_layer_scan(s, item); break;
	case LEAVE:
		if (s->norm_group > 0) layer2_norm(s);
		if (s->out.type == S8) s->step = do_quantize(s->u, s->inner, s->q);
		break;
	default:
		for (int64_t o = item * ROWS; o < smaller((item + 1) * ROWS, s->width); o++) s->y[o] = s->x[o] + row(&s->out, o, s->u, s->q, s->step);
	}
}
