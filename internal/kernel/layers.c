// A token's way through all layers as one custom call.
#include <stdlib.h>

#include "call.h"

// Reads the weights at *at, which are followed by their scales if they are int8.
static int is_matrix(const ffi_values *in, int64_t *at, int64_t *outputs, int64_t *inputs, matrix *m) {
	if (*at >= in->size) return 0;
	const ffi_buffer *w = in->values[(*at)++];
	if (!IS(w, w->dtype, outputs, inputs)) return 0;
	*m = (matrix){F32, *outputs, *inputs, w->data, NULL};
	switch (w->dtype) {
	case FFI_F32: return 1;
	case FFI_BF16: m->type = BF16; return 1;
	case FFI_S8: break;
	default: return 0;
	}
	if (*at >= in->size) return 0;
	const ffi_buffer *scale = in->values[(*at)++];
	m->type = S8;
	m->scale = scale->data;
	return IS(scale, FFI_F32, outputs, &mes_one);
}

// Reads Mamba-1's mixer: a are the arguments from dt_bias on, out is the result for h.
static int is_mixer1(const ffi_values *in, int64_t *at, ffi_buffer **a, const ffi_buffer *out, layer *s) {
	int64_t *C = &s->channels, *N = &s->states, *R = &s->rank, both = -1, all = -1;
	s->inner = *C;
	return IS(a[0], FFI_F32, C) && IS(a[1], FFI_F32, C, N) && IS(a[2], FFI_F32, C) && IS(a[3], FFI_F32, &mes_one, N, C) &&
		IS(out, FFI_F32, &mes_one, N, C) && *N <= MAX_STATES && is_matrix(in, at, &both, &s->width, &s->in) && both == 2 * *C &&
		is_matrix(in, at, &all, C, &s->x_proj) && s->x_proj.type != S8 && is_matrix(in, at, C, R, &s->dt_proj) &&
		s->dt_proj.type != S8 && all == *R + 2 * *N && is_matrix(in, at, &s->width, C, &s->out);
}

// Reads Mamba-2's mixer in the same way; behind h comes the weight of its norm.
static int is_mixer2(const ffi_values *in, int64_t *at, ffi_buffer **a, const ffi_buffer *out, layer *s) {
	int64_t *G = &s->groups, *N = &s->states, *H = &s->heads, *di = &s->inner, part = -1, all = -1;
	if (*at >= in->size || !IS(a[0], FFI_F32, H) || !IS(a[1], FFI_F32, H) || !IS(a[2], FFI_F32, H) || !IS(a[3], FFI_F32, &mes_one, G, &part, N) ||
		!IS(out, FFI_F32, &mes_one, G, &part, N) || !IS(a[4], FFI_F32, di) || *G < 1 || *H < 1 || *di != *G * part || *di % *H != 0 ||
		*H % *G != 0 || s->channels != *di + 2 * *G * *N || s->norm_group > *di || (s->norm_group > 0 && *di % s->norm_group != 0)) {
		return 0;
	}
	s->mixer_norm = a[4]->data;
	(*at)++;
	return is_matrix(in, at, &all, &s->width, &s->in) && all == *di + s->channels + *H && is_matrix(in, at, &s->width, di, &s->out);
}

// Reads a layer from the arguments at *at and its two results. Its sizes are those
// of the layers before, or -1.
static int is_layer(const ffi_values *in, int64_t *at, ffi_buffer **out, layer *s) {
	ffi_buffer **a = in->values + *at;
	int64_t past = s->taps < 0 ? -1 : s->taps - 1, *d = &s->width, *C = &s->channels;
	if (*at + 8 > in->size || !IS(a[0], FFI_F32, d) || !IS(a[1], FFI_F32, &mes_one, &past, C) || !IS(a[2], FFI_F32, C, &mes_one, &s->taps) ||
		!IS(a[3], FFI_F32, C) || !IS(out[0], FFI_F32, &mes_one, &past, C) || past != s->taps - 1 || s->taps > MAX_TAPS) {
		return 0;
	}
	s->norm = a[0]->data, s->conv = a[1]->data, s->conv_w = a[2]->data, s->conv_b = a[3]->data;
	s->dt_bias = a[4]->data, s->a_log = a[5]->data, s->skip = a[6]->data, s->h = a[7]->data;
	s->last_conv = out[0]->data, s->last = out[1]->data;
	*at += 8;
	return (s->kind == MAMBA2 ? is_mixer2 : is_mixer1)(in, at, a + 4, out[1], s);
}

// Points the layers to memory for what lies between their stages; x becomes y, which
// becomes the next layer's x.
static float *connect(layer *layers, int64_t count, const float *x, float *y) {
	const int64_t d = layers->width, C = layers->channels, z = layers->inner + layers->heads, dbc = layers->rank + 2 * layers->states;
	float *scratch = malloc((size_t)(d + C + z + dbc) * sizeof(float) + (size_t)(d > C ? d : C) * sizeof(int16_t));
	if (scratch == NULL) return NULL;
	for (layer *s = layers; s < layers + count; s++) {
		s->x = s == layers ? x : y;
		s->y = y;
		s->normed = scratch, s->u = scratch + d, s->z = s->u + C, s->dbc = s->z + z, s->q = (int16_t *)(s->dbc + dbc);
	}
	return scratch;
}

static void run_layers(void *a, int stage, int64_t item) { mes_set->layer((layer *)a + stage / LAYER_STAGES, stage % LAYER_STAGES, item); }

// The settings among the arguments, or NULL if these and the results are not those
// of layers.
static const float *settings(const ffi_frame *f, int64_t count) {
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	int64_t d = -1;
	if (f->arguments.size < 2 || f->results.size < 3 || f->results.size % 2 != 1 || !IS(in[0], FFI_F32, &mes_one, &mes_one, &d) ||
		!IS(in[1], FFI_F32, &count) || !IS(out[0], FFI_F32, &mes_one, &mes_one, &d)) {
		return NULL;
	}
	return in[1]->data;
}

// Computes layers like the given one, whose sizes are -1.
static ffi_error *compute(const ffi_frame *f, const layer *like) {
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	const int64_t count = (f->results.size - 1) / 2;
	int64_t at = 2;
	layer *layers = calloc((size_t)count, sizeof *layers);
	float *scratch = NULL;
	job *j = layers == NULL ? NULL : mes_new_job(run_layers, layers, (int)count * LAYER_STAGES);
	const char *fault = j == NULL ? "layers: out of memory" : NULL;
	for (int64_t l = 0; l < count && fault == NULL; l++) {
		layers[l] = l == 0 ? *like : layers[l - 1];
		if (!is_layer(&f->arguments, &at, out + 1 + 2 * l, &layers[l])) fault = "layers: wrong weights";
	}
	if (fault == NULL && (at != f->arguments.size || layers->width != in[0]->dims[2])) fault = "layers: wrong weights";
	if (fault == NULL && (scratch = connect(layers, count, in[0]->data, out[0]->data)) == NULL) fault = "layers: out of memory";
	if (fault == NULL) {
		for (int i = 0; i < j->count; i++) {
			j->stages[i].items = mes_set->layer_items(&layers[i / LAYER_STAGES], i % LAYER_STAGES);
			j->stages[i].grain = j->stages[i].items / 32 > 1 ? j->stages[i].items / 32 : 1;
		}
		mes_run_job(f, j);
	} else {
		free(j);
	}
	free(scratch);
	free(layers);
	return fault == NULL ? NULL : mes_refuse(f, fault);
}

ffi_error *mes_layers1(ffi_frame *f) {
	if (mes_answered(f)) return NULL;
	const float *set = settings(f, 2);
	if (set == NULL) return mes_refuse(f, "layers: wrong shapes");
	return compute(f, &(layer){.kind = MAMBA1, .width = -1, .channels = -1, .states = -1, .taps = -1, .rank = -1, .eps = set[0], .mixer_eps = set[1]});
}

ffi_error *mes_layers2(ffi_frame *f) {
	if (mes_answered(f)) return NULL;
	const float *set = settings(f, 5);
	if (set == NULL || !(set[3] >= 0 && set[3] <= 1 << 24)) return mes_refuse(f, "layers: wrong shapes");
	return compute(f, &(layer){.kind = MAMBA2, .width = -1, .inner = -1, .channels = -1, .states = -1, .taps = -1, .heads = -1, .groups = -1,
		.eps = set[0], .least = set[1], .most = set[2], .norm_group = (int64_t)set[3], .norm_first = set[4] != 0});
}
