// What the handlers of the custom calls share.
#ifndef MES_CALL_H
#define MES_CALL_H

#include <stdatomic.h>

#include "compute.h"
#include "ffi.h"

// The kernels of this processor.
extern const kernels *mes_set;

// The items of a stage, in pieces of grain.
typedef struct {
	int64_t items, grain;
	_Atomic int64_t next, done;
} stage;

// A call: stages of items, each of which begins when the one before is done. Helpers
// may begin after the call has returned: they then find no item left, and the last
// one to leave frees the job.
typedef struct job {
	void (*run)(void *arguments, int stage, int64_t item);
	void *arguments;
	_Atomic int holders;
	int count;
	stage stages[];
} job;

// Gives a job without items, or NULL; mes_run_job runs and frees it.
job *mes_new_job(void (*run)(void *, int, int64_t), void *arguments, int count);

// Ends when all items are done.
void mes_run_job(const ffi_frame *f, job *j);

// Runs the items of one stage; ends when they are done.
void mes_share(const ffi_frame *f, void (*run)(void *, int, int64_t), void *arguments, int64_t items, int64_t grain);

ffi_error *mes_refuse(const ffi_frame *f, const char *message);

// Answers XLA's question for the version; false if it was no question.
int mes_answered(const ffi_frame *f);

// Whether a buffer has this type and these sizes; a size of -1 is any, and becomes known.
int mes_is(const ffi_buffer *b, int dtype, int rank, int64_t *const *sizes);

#define IS(buffer, dtype, ...) \
	mes_is(buffer, dtype, sizeof((int64_t *[]){__VA_ARGS__}) / sizeof(int64_t *), (int64_t *const[]){__VA_ARGS__})

extern int64_t mes_one; // a size of 1 for IS

ffi_error *mes_layers1(ffi_frame *f);
ffi_error *mes_layers2(ffi_frame *f);

#endif
