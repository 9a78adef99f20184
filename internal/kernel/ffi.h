// The part of two stable binary interfaces that the kernels use: XLA's typed
// custom calls, and the extension of a PJRT plugin that registers them. Names
// are theirs without prefixes; fields that are never read are not named.
#ifndef MES_FFI_H
#define MES_FFI_H

#include <stddef.h>
#include <stdint.h>

typedef struct ffi_extension {
	size_t struct_size;
	int type;
	struct ffi_extension *next;
} ffi_extension;

enum { FFI_EXTENSION_METADATA = 1, FFI_STAGE_EXECUTE = 3, FFI_INVALID_ARGUMENT = 3 };
enum { FFI_S8 = 2, FFI_S32 = 4, FFI_F32 = 11, FFI_BF16 = 16 };
// What these declarations are of; XLA refuses a handler of a version that it does
// not support.
enum { FFI_MAJOR = 0, FFI_MINOR = 3 };

typedef struct ffi_version {
	size_t struct_size;
	ffi_extension *extensions;
	int major, minor;
} ffi_version;

typedef struct ffi_metadata {
	size_t struct_size;
	ffi_version version;
	uint32_t traits;
	int64_t state_type;
} ffi_metadata;

typedef struct ffi_metadata_extension {
	ffi_extension base;
	ffi_metadata *metadata;
} ffi_metadata_extension;

typedef struct ffi_buffer {
	size_t struct_size;
	ffi_extension *extensions;
	int dtype;
	void *data;
	int64_t rank;
	int64_t *dims;
} ffi_buffer;

// Arguments and results have the same layout.
typedef struct ffi_values {
	size_t struct_size;
	ffi_extension *extensions;
	int64_t size;
	int *types;
	ffi_buffer **values;
} ffi_values;

typedef struct ffi_error ffi_error;
typedef struct ffi_context ffi_context;

typedef struct ffi_error_create {
	size_t struct_size;
	ffi_extension *extensions;
	const char *message;
	int code;
} ffi_error_create;

typedef struct ffi_error_destroy {
	size_t struct_size;
	ffi_extension *extensions;
	ffi_error *error;
} ffi_error_destroy;

typedef struct ffi_schedule {
	size_t struct_size;
	ffi_extension *extensions;
	ffi_context *context;
	void (*task)(void *data);
	void *data;
} ffi_schedule;

typedef struct ffi_threads {
	size_t struct_size;
	ffi_extension *extensions;
	ffi_context *context;
	int64_t *threads;
} ffi_threads;

typedef struct ffi_api {
	size_t struct_size;
	ffi_extension *extensions;
	ffi_version version;
	const void *internal;
	ffi_error *(*error_create)(ffi_error_create *);
	void *error_message;
	void (*error_destroy)(ffi_error_destroy *);
	void *unused[8]; // handlers, streams, types, states and memory of a device
	ffi_error *(*schedule)(ffi_schedule *);
	ffi_error *(*threads)(ffi_threads *);
} ffi_api;

typedef struct ffi_frame {
	size_t struct_size;
	ffi_extension *extensions;
	const ffi_api *api;
	ffi_context *context;
	int stage;
	ffi_values arguments, results;
} ffi_frame;

typedef ffi_error *ffi_handler(ffi_frame *frame);

// PJRT's side.
enum { PJRT_EXTENSION_FFI = 5, PJRT_MAJOR = 0, PJRT_MINOR = 106 };

typedef struct pjrt_error_destroy {
	size_t struct_size;
	ffi_extension *extensions;
	void *error;
} pjrt_error_destroy;

typedef struct pjrt_api {
	size_t struct_size;
	ffi_extension *extensions;
	size_t version_size;
	ffi_extension *version_extensions;
	int major, minor;
	void (*error_destroy)(pjrt_error_destroy *);
} pjrt_api;

typedef struct pjrt_register {
	size_t struct_size;
	const char *name;
	size_t name_size;
	ffi_handler *handler;
	const char *platform;
	size_t platform_size;
	uint32_t traits;
} pjrt_register;

typedef struct pjrt_ffi {
	ffi_extension base;
	void *type_register, *user_data_add;
	void *(*register_handler)(pjrt_register *);
} pjrt_ffi;

#endif
