// What all handlers do: answer and refuse calls, check buffers, and share items out
// among XLA's threads.
#define _GNU_SOURCE
#include "call.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

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

job *mes_new_job(void (*run)(void *, int, int64_t), void *arguments, int count) {
	job *j = calloc(1, sizeof *j + (size_t)count * sizeof *j->stages);
	if (j != NULL) j->run = run, j->arguments = arguments, j->count = count, j->holders = 1;
	return j;
}

void mes_run_job(const ffi_frame *f, job *j) {
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

void mes_share(const ffi_frame *f, void (*run)(void *, int, int64_t), void *arguments, int64_t items, int64_t grain) {
	job *j = mes_new_job(run, arguments, 1);
	if (j == NULL) {
		for (int64_t i = 0; i < items; i++) run(arguments, 0, i);
		return;
	}
	j->stages[0].items = items, j->stages[0].grain = grain;
	mes_run_job(f, j);
}

ffi_error *mes_refuse(const ffi_frame *f, const char *message) {
	return f->api->error_create(&(ffi_error_create){sizeof(ffi_error_create), NULL, message, FFI_INVALID_ARGUMENT});
}

int mes_answered(const ffi_frame *f) {
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

int mes_is(const ffi_buffer *b, int dtype, int rank, int64_t *const *sizes) {
	if (b->dtype != dtype || b->rank != rank) return 0;
	for (int i = 0; i < rank; i++) {
		if (*sizes[i] < 0) *sizes[i] = b->dims[i];
		if (*sizes[i] != b->dims[i]) return 0;
	}
	return 1;
}

int64_t mes_one = 1;
