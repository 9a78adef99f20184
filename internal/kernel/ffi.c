// The kernels as XLA's custom calls: what a handler is given is checked, and its
// items are shared out among XLA's own threads.
#define _GNU_SOURCE
#include "ffi.h"

#include <dlfcn.h>
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compute.h"

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
static const kernels *set = &kernels_plain;

// The items of a stage, in pieces of grain.
typedef struct {
	int64_t items, grain;
	_Atomic int64_t next, done;
} stage;

// A call: stages of items, each of which begins when the one before is done. Helpers
// may begin after the call has returned: they then find no item left, and the last
// one to leave frees the job.
typedef struct {
	void (*run)(void *arguments, int stage, int64_t item);
	void *arguments;
	_Atomic int holders;
	int count;
	stage stages[];
} job;

static void work(job *j) {
	for (int i = 0; i < j->count; i++) {
		stage *s = &j->stages[i];
		for (int64_t from; (from = atomic_fetch_add(&s->next, s->grain)) < s->items;) {
			const int64_t to = from + s->grain < s->items ? from + s->grain : s->items;
			for (int64_t item = from; item < to; item++) j->run(j->arguments, i, item);
			atomic_fetch_add(&s->done, to - from);
		}
		for (int spins = 0; atomic_load(&s->done) < s->items; spins++) {
			if (spins > 100000) sched_yield(); // some 0.1 ms: a processor given away may not come back for longer
		}
	}
}

static void leave(job *j) {
	if (atomic_fetch_sub(&j->holders, 1) == 1) free(j);
}

static void help(void *data) {
	work(data);
	leave(data);
}

// How many threads may work on a call.
static int64_t threads(const ffi_frame *f) {
	int64_t n = 1;
	ffi_threads ask = {sizeof ask, NULL, f->context, &n};
	ffi_error *err = f->api->threads(&ask);
	if (err != NULL) {
		f->api->error_destroy(&(ffi_error_destroy){sizeof(ffi_error_destroy), NULL, err});
		return 1;
	}
	const int64_t processors = sysconf(_SC_NPROCESSORS_ONLN);
	return n < processors ? n : processors;
}

// Gives a job without items, or NULL; run_job runs and frees it.
static job *new_job(void (*run)(void *, int, int64_t), void *arguments, int count) {
	job *j = calloc(1, sizeof *j + (size_t)count * sizeof *j->stages);
	if (j != NULL) j->run = run, j->arguments = arguments, j->count = count, j->holders = 1;
	return j;
}

// Ends when all items are done.
static void run_job(const ffi_frame *f, job *j) {
	int64_t pieces = 0; // of the stage that has most
	for (int i = 0; i < j->count; i++) {
		const int64_t n = (j->stages[i].items + j->stages[i].grain - 1) / j->stages[i].grain;
		if (n > pieces) pieces = n;
	}
	int64_t helpers = threads(f) - 1;
	if (helpers > pieces - 1) helpers = pieces - 1;
	for (int64_t i = 0; i < helpers; i++) {
		atomic_fetch_add(&j->holders, 1);
		ffi_schedule ask = {sizeof ask, NULL, f->context, help, j};
		ffi_error *err = f->api->schedule(&ask);
		if (err != NULL) {
			f->api->error_destroy(&(ffi_error_destroy){sizeof(ffi_error_destroy), NULL, err});
			leave(j);
		}
	}
	work(j);
	leave(j);
}

// Runs the items of one stage; ends when they are done.
static void share(const ffi_frame *f, void (*run)(void *, int, int64_t), void *arguments, int64_t items, int64_t grain) {
	job *j = new_job(run, arguments, 1);
	if (j == NULL) {
		for (int64_t i = 0; i < items; i++) run(arguments, 0, i);
		return;
	}
	j->stages[0].items = items, j->stages[0].grain = grain;
	run_job(f, j);
}

static ffi_error *refuse(const ffi_frame *f, const char *message) {
	return f->api->error_create(&(ffi_error_create){sizeof(ffi_error_create), NULL, message, FFI_INVALID_ARGUMENT});
}

// Answers XLA's question for the version; false if it was no question.
static int answered(const ffi_frame *f) {
	for (ffi_extension *e = f->extensions; e != NULL; e = e->next) {
		if (e->type == FFI_EXTENSION_METADATA) {
			ffi_metadata *m = ((ffi_metadata_extension *)e)->metadata;
			m->version.major = FFI_MAJOR;
			m->version.minor = FFI_MINOR;
			m->traits = 0;
			return 1;
		}
	}
	return f->stage != FFI_STAGE_EXECUTE;
}

// Whether a buffer has this type and these sizes; a size of -1 is any, and becomes known.
static int is(const ffi_buffer *b, int dtype, int rank, int64_t *const *sizes) {
	if (b->dtype != dtype || b->rank != rank) return 0;
	for (int i = 0; i < rank; i++) {
		if (*sizes[i] < 0) *sizes[i] = b->dims[i];
		if (*sizes[i] != b->dims[i]) return 0;
	}
	return 1;
}

#define IS(buffer, dtype, ...) \
	is(buffer, dtype, sizeof((int64_t *[]){__VA_ARGS__}) / sizeof(int64_t *), (int64_t *const[]){__VA_ARGS__})

static int64_t one = 1;

static void run_scan1(void *a, int stage, int64_t item) { set->scan1(a, item); }

static ffi_error *handle_scan1(ffi_frame *f) {
	if (answered(f)) return NULL;
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	int64_t B = -1, T = -1, C = -1, N = -1;
	if (f->arguments.size != 6 || f->results.size != 2 || !IS(in[0], FFI_F32, &B, &N, &C) || !IS(in[1], FFI_F32, &B, &T, &C) ||
		!IS(in[2], FFI_F32, &B, &T, &C) || !IS(in[3], FFI_F32, &N, &C) || !IS(in[4], FFI_F32, &B, &T, &N) ||
		!IS(in[5], FFI_F32, &B, &T, &N) || !IS(out[0], FFI_F32, &B, &T, &C) || !IS(out[1], FFI_F32, &B, &N, &C) || N > MAX_STATES) {
		return refuse(f, "scan1: wrong shapes");
	}
	scan1 s = {B, T, C, N, in[0]->data, in[1]->data, in[2]->data, in[3]->data, in[4]->data, in[5]->data, out[0]->data, out[1]->data};
	share(f, run_scan1, &s, B * ((C + LANES - 1) / LANES), 1);
	return NULL;
}

static void run_scan2(void *a, int stage, int64_t item) { set->scan2(a, item); }

static ffi_error *handle_scan2(ffi_frame *f) {
	if (answered(f)) return NULL;
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	int64_t B = -1, T = -1, G = -1, W = -1, N = -1, H = -1, P = -1;
	if (f->arguments.size != 5 || f->results.size != 2 || !IS(in[0], FFI_F32, &B, &G, &W, &N) || !IS(in[1], FFI_F32, &B, &T, &H) ||
		!IS(in[2], FFI_F32, &B, &T, &H, &P) || !IS(in[3], FFI_F32, &B, &T, &G, &N) || !IS(in[4], FFI_F32, &B, &T, &G, &N) ||
		!IS(out[0], FFI_F32, &B, &T, &H, &P) || !IS(out[1], FFI_F32, &B, &G, &W, &N) || G * W != H * P || H % G != 0 ||
		N > MAX_STATES || (P + LANES - 1) / LANES * LANES * ((N + 3) / 4 * 4) > MAX_HEAD) {
		return refuse(f, "scan2: wrong shapes");
	}
	scan2 s = {B, T, G, H, P, N, in[0]->data, in[1]->data, in[2]->data, in[3]->data, in[4]->data, out[0]->data, out[1]->data};
	share(f, run_scan2, &s, B * H, 1);
	return NULL;
}

static void run_product(void *a, int stage, int64_t item) { set->product(a, item); }

static ffi_error *handle_product(ffi_frame *f) {
	if (answered(f)) return NULL;
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	int64_t V = -1, I = -1, O = -1;
	if (f->arguments.size != 3 || f->results.size != 1 || !IS(in[0], FFI_F32, &V, &I) || !IS(in[1], FFI_S8, &O, &I) ||
		!IS(in[2], FFI_F32, &O, &one) || !IS(out[0], FFI_F32, &V, &O) || V > MAX_VECTORS) {
		return refuse(f, "product: wrong shapes");
	}
	int16_t *q = malloc((size_t)(V * I) * sizeof *q);
	if (q == NULL) return refuse(f, "product: out of memory");
	product p = {.vectors = V, .inputs = I, .outputs = O, .w = in[1]->data, .scale = in[2]->data, .q = q, .y = out[0]->data};
	for (int64_t v = 0; v < V; v++) p.step[v] = set->quantize((const float *)in[0]->data + v * I, I, q + v * I);
	const int64_t items = (O + ROWS - 1) / ROWS;
	share(f, run_product, &p, items, items / 16 > 4 ? items / 16 : 4); // a few pieces for each thread
	free(q);
	return NULL;
}

static void run_conv(void *a, int stage, int64_t item) { set->conv(a, item); }

static ffi_error *handle_conv(ffi_frame *f) {
	if (answered(f)) return NULL;
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	int64_t B = -1, T = -1, C = -1, K = -1, past = -1, columns = -1;
	if (f->arguments.size != 6 || f->results.size != 1 || !IS(in[0], FFI_F32, &B, &T, &columns) || in[1]->dtype != FFI_S32 || in[1]->rank != 0 ||
		!IS(in[2], FFI_F32, &B, &T) || !IS(in[3], FFI_F32, &B, &past, &C) || !IS(in[4], FFI_F32, &C, &one, &K) || !IS(in[5], FFI_F32, &C) ||
		!IS(out[0], FFI_F32, &B, &T, &C) || past != K - 1 || K > MAX_TAPS) {
		return refuse(f, "conv: wrong shapes");
	}
	const int32_t first = *(const int32_t *)in[1]->data;
	if (first < 0 || first + C > columns) return refuse(f, "conv: columns out of range");
	conv s = {B, T, C, K, columns, first, in[0]->data, in[2]->data, in[3]->data, in[4]->data, in[5]->data, out[0]->data};
	share(f, run_conv, &s, B * ((T + CONV_STEPS - 1) / CONV_STEPS), 1);
	return NULL;
}

static void run_layers1(void *a, int stage, int64_t item) { set->layer1((layer1 *)a + stage / LAYER1_STAGES, stage % LAYER1_STAGES, item); }

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
	return IS(scale, FFI_F32, outputs, &one);
}

// Reads a layer from the arguments at *at and its two results; d, C, N, R and K are
// those of the layers before, or -1.
static int is_layer1(const ffi_values *in, int64_t *at, ffi_buffer **out, layer1 *s) {
	ffi_buffer **a = in->values + *at;
	int64_t past = s->taps - 1, *d = &s->width, *C = &s->channels, *N = &s->states, *R = &s->rank, both = -1, all = -1;
	if (s->taps < 0) past = -1;
	if (*at + 8 > in->size || !IS(a[0], FFI_F32, d) || !IS(a[1], FFI_F32, &one, &past, C) || !IS(a[2], FFI_F32, C, &one, &s->taps) ||
		!IS(a[3], FFI_F32, C) || !IS(a[4], FFI_F32, C) || !IS(a[5], FFI_F32, C, N) || !IS(a[6], FFI_F32, C) || !IS(a[7], FFI_F32, &one, N, C) ||
		!IS(out[0], FFI_F32, &one, &past, C) || !IS(out[1], FFI_F32, &one, N, C) || past != s->taps - 1 || s->taps > MAX_TAPS || *N > MAX_STATES) {
		return 0;
	}
	s->norm = a[0]->data, s->conv = a[1]->data, s->conv_w = a[2]->data, s->conv_b = a[3]->data;
	s->dt_bias = a[4]->data, s->a_log = a[5]->data, s->skip = a[6]->data, s->h = a[7]->data;
	s->last_conv = out[0]->data, s->last = out[1]->data;
	*at += 8;
	return is_matrix(in, at, &both, d, &s->in) && both == 2 * *C && is_matrix(in, at, &all, C, &s->x_proj) && s->x_proj.type != S8 &&
		is_matrix(in, at, C, R, &s->dt_proj) && s->dt_proj.type != S8 && all == *R + 2 * *N && is_matrix(in, at, d, C, &s->out);
}

// Points the layers to memory for what lies between their stages; x becomes y, which
// becomes the next layer's x.
static float *connect(layer1 *layers, int64_t count, const float *x, float *y) {
	const int64_t d = layers->width, C = layers->channels, dbc = layers->rank + 2 * layers->states;
	float *scratch = malloc((size_t)(d + 2 * C + dbc) * sizeof(float) + (size_t)(d > C ? d : C) * sizeof(int16_t));
	if (scratch == NULL) return NULL;
	for (layer1 *s = layers; s < layers + count; s++) {
		s->x = s == layers ? x : y;
		s->y = y;
		s->normed = scratch, s->u = scratch + d, s->z = s->u + C, s->dbc = s->z + C, s->q = (int16_t *)(s->dbc + dbc);
	}
	return scratch;
}

static ffi_error *handle_layers1(ffi_frame *f) {
	if (answered(f)) return NULL;
	ffi_buffer **in = f->arguments.values, **out = f->results.values;
	const int64_t count = (f->results.size - 1) / 2;
	int64_t d = -1, two = 2, at = 2;
	if (f->arguments.size < at || count < 1 || f->results.size != 1 + 2 * count || !IS(in[0], FFI_F32, &one, &one, &d) ||
		!IS(in[1], FFI_F32, &two) || !IS(out[0], FFI_F32, &one, &one, &d)) {
		return refuse(f, "layers1: wrong shapes");
	}
	const float *eps = in[1]->data;
	layer1 *layers = calloc((size_t)count, sizeof *layers);
	float *scratch = NULL;
	job *j = layers == NULL ? NULL : new_job(run_layers1, layers, (int)count * LAYER1_STAGES);
	const char *fault = j == NULL ? "layers1: out of memory" : NULL;
	for (int64_t l = 0; l < count && fault == NULL; l++) {
		const layer1 *before = l == 0 ? &(layer1){.width = d, .channels = -1, .states = -1, .rank = -1, .taps = -1} : &layers[l - 1];
		layers[l] = (layer1){.width = before->width, .channels = before->channels, .states = before->states, .rank = before->rank,
			.taps = before->taps, .eps = eps[0], .mixer_eps = eps[1]};
		if (!is_layer1(&f->arguments, &at, out + 1 + 2 * l, &layers[l])) fault = "layers1: wrong weights";
	}
	if (fault == NULL && at != f->arguments.size) fault = "layers1: too many weights";
	if (fault == NULL && (scratch = connect(layers, count, in[0]->data, out[0]->data)) == NULL) fault = "layers1: out of memory";
	if (fault == NULL) {
		for (int i = 0; i < j->count; i++) {
			j->stages[i].items = set->layer1_items(&layers[i / LAYER1_STAGES], i % LAYER1_STAGES);
			j->stages[i].grain = j->stages[i].items / 32 > 1 ? j->stages[i].items / 32 : 1;
		}
		run_job(f, j);
	} else {
		free(j);
	}
	free(scratch);
	free(layers);
	return fault == NULL ? NULL : refuse(f, fault);
}

static const struct {
	const char *name;
	ffi_handler *handler;
} handlers[] = {
	{"mes.scan1", handle_scan1}, {"mes.scan2", handle_scan2}, {"mes.product", handle_product}, {"mes.conv", handle_conv},
	{"mes.layers1", handle_layers1},
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
	set = chosen();
	for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
		pjrt_register ask = {sizeof ask, handlers[i].name, strlen(handlers[i].name), handlers[i].handler, "Host", strlen("Host"), 0};
		void *err = ffi->register_handler(&ask);
		if (err != NULL) {
			*fault = text("the plugin refuses kernel ", handlers[i].name);
			api->error_destroy(&(pjrt_error_destroy){sizeof(pjrt_error_destroy), NULL, err});
			return NULL;
		}
	}
	return set->name;
}
