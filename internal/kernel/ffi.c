// The kernels as XLA's custom calls: what a handler is given is checked, and its
// items are shared out among XLA's own threads. layers.c has the calls for a token.
#define _GNU_SOURCE
#include "call.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The set of this processor.
static const kernels *chosen(void) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
		__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni")) {
		return &kernels_avx512;
	}
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kernels_avx2;
#endif
	return &kernels_plain;
}

// Set by mes_register, before any handler can run.
const kernels *mes_set = &kernels_plain;

static void run_scan1(void *a, int stage, int64_t item) { mes_set->scan1(a, item); }

static ffi_error *handle_scan1(ffi_frame *f) {
	if (mes_answered(f)) return NULL;
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	int64_t B = -1, T = -1, C = -1, N = -1;
	if (f->arguments.size != 6 || f->results.size != 2 || !IS(in[0], FFI_F32, &B, &N, &C) || !IS(in[1], FFI_F32, &B, &T, &C) ||
		!IS(in[2], FFI_F32, &B, &T, &C) || !IS(in[3], FFI_F32, &N, &C) || !IS(in[4], FFI_F32, &B, &T, &N) ||
		!IS(in[5], FFI_F32, &B, &T, &N) || !IS(out[0], FFI_F32, &B, &T, &C) || !IS(out[1], FFI_F32, &B, &N, &C) || N > MAX_STATES) {
		return mes_refuse(f, "scan1: wrong shapes");
	}
	scan1 s = {B, T, C, N, in[0]->data, in[1]->data, in[2]->data, in[3]->data, in[4]->data, in[5]->data, out[0]->data, out[1]->data};
	mes_share(f, run_scan1, &s, B * ((C + LANES - 1) / LANES), 1);
	return NULL;
}

static void run_scan2(void *a, int stage, int64_t item) { mes_set->scan2(a, item); }

static ffi_error *handle_scan2(ffi_frame *f) {
	if (mes_answered(f)) return NULL;
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	int64_t B = -1, T = -1, G = -1, W = -1, N = -1, H = -1, P = -1;
	if (f->arguments.size != 5 || f->results.size != 2 || !IS(in[0], FFI_F32, &B, &G, &W, &N) || !IS(in[1], FFI_F32, &B, &T, &H) ||
		!IS(in[2], FFI_F32, &B, &T, &H, &P) || !IS(in[3], FFI_F32, &B, &T, &G, &N) || !IS(in[4], FFI_F32, &B, &T, &G, &N) ||
		!IS(out[0], FFI_F32, &B, &T, &H, &P) || !IS(out[1], FFI_F32, &B, &G, &W, &N) || G * W != H * P || H % G != 0 ||
		N > MAX_STATES || (P + LANES - 1) / LANES * LANES * ((N + 3) / 4 * 4) > MAX_HEAD) {
		return mes_refuse(f, "scan2: wrong shapes");
	}
	scan2 s = {B, T, G, H, P, N, in[0]->data, in[1]->data, in[2]->data, in[3]->data, in[4]->data, out[0]->data, out[1]->data};
	mes_share(f, run_scan2, &s, B * H, 1);
	return NULL;
}

static void run_product(void *a, int stage, int64_t item) { mes_set->product(a, item); }

static ffi_error *handle_product(ffi_frame *f) {
	if (mes_answered(f)) return NULL;
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	int64_t V = -1, I = -1, O = -1;
	if (f->arguments.size != 3 || f->results.size != 1 || !IS(in[0], FFI_F32, &V, &I) || !IS(in[1], FFI_S8, &O, &I) ||
		!IS(in[2], FFI_F32, &O, &mes_one) || !IS(out[0], FFI_F32, &V, &O) || V > MAX_VECTORS) {
		return mes_refuse(f, "product: wrong shapes");
	}
	int16_t *q = malloc((size_t)(V * I) * sizeof *q);
	if (q == NULL) return mes_refuse(f, "product: out of memory");
	product p = {.vectors = V, .inputs = I, .outputs = O, .w = in[1]->data, .scale = in[2]->data, .q = q, .y = out[0]->data};
	for (int64_t v = 0; v < V; v++) p.step[v] = mes_set->quantize((const float *)in[0]->data + v * I, I, q + v * I);
	const int64_t items = (O + ROWS - 1) / ROWS;
	mes_share(f, run_product, &p, items, items / 16 > 4 ? items / 16 : 4); // a few pieces for each thread
	free(q);
	return NULL;
}

static void run_conv(void *a, int stage, int64_t item) { mes_set->conv(a, item); }

static ffi_error *handle_conv(ffi_frame *f) {
	if (mes_answered(f)) return NULL;
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	int64_t B = -1, T = -1, C = -1, K = -1, past = -1, columns = -1;
	if (f->arguments.size != 6 || f->results.size != 1 || !IS(in[0], FFI_F32, &B, &T, &columns) || in[1]->dtype != FFI_S32 || in[1]->rank != 0 ||
		!IS(in[2], FFI_F32, &B, &T) || !IS(in[3], FFI_F32, &B, &past, &C) || !IS(in[4], FFI_F32, &C, &mes_one, &K) || !IS(in[5], FFI_F32, &C) ||
		!IS(out[0], FFI_F32, &B, &T, &C) || past != K - 1 || K > MAX_TAPS) {
		return mes_refuse(f, "conv: wrong shapes");
	}
	const int32_t first = *(const int32_t *)in[1]->data;
	if (first < 0 || first + C > columns) return mes_refuse(f, "conv: columns out of range");
	conv s = {B, T, C, K, columns, first, in[0]->data, in[2]->data, in[3]->data, in[4]->data, in[5]->data, out[0]->data};
	mes_share(f, run_conv, &s, B * ((T + CONV_STEPS - 1) / CONV_STEPS), 1);
	return NULL;
}

static const struct {
	const char *name;
	ffi_handler *handler;
} handlers[] = {
	{"mes.scan1", handle_scan1}, {"mes.scan2", handle_scan2}, {"mes.product", handle_product}, {"mes.conv", handle_conv},
	{"mes.layers1", mes_layers1}, {"mes.layers2", mes_layers2},
};

static char *text(const char *a, const char *b) {
	const size_t size = strlen(a) + strlen(b) + 1;
	char *s = malloc(size);
	if (s != NULL) snprintf(s, size, "%s%s", a, b);
	return s;
}

// Registers all kernels with the plugin at path, which is loaded. Gives the name
// of the set of instructions, or sets *fault; the caller frees that.
const char *mes_register(const char *path, char **fault) {
	*fault = NULL;
	void *library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
	pjrt_api *(*get)(void) = library == NULL ? NULL : (pjrt_api *(*)(void))dlsym(library, "GetPjrtApi");
	if (get == NULL) {
		*fault = text("find the plugin: ", dlerror());
		return NULL;
	}
	const pjrt_api *api = get();
	if (api->major != PJRT_MAJOR || api->minor < PJRT_MINOR) {
		*fault = text("the plugin is older than the interface for kernels", "");
		return NULL;
	}
	const pjrt_ffi *ffi = NULL;
	for (ffi_extension *e = api->extensions; e != NULL; e = e->next) {
		if (e->type == PJRT_EXTENSION_FFI && e->struct_size >= sizeof *ffi) ffi = (pjrt_ffi *)e;
	}
	if (ffi == NULL) {
		*fault = text("the plugin takes no kernels", "");
		return NULL;
	}
	mes_set = chosen();
	for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
		pjrt_register ask = {sizeof ask, handlers[i].name, strlen(handlers[i].name), handlers[i].handler, "Host", strlen("Host"), 0};
		void *err = ffi->register_handler(&ask);
		if (err != NULL) {
			*fault = text("the plugin refuses kernel ", handlers[i].name);
			api->error_destroy(&(pjrt_error_destroy){sizeof(pjrt_error_destroy), NULL, err});
			return NULL;
		}
	}
	return mes_set->name;
}
