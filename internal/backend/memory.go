//go:build cgo && !noxla

package backend

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static void map_large(int from, int spare) {
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, from);
	mallopt(M_TRIM_THRESHOLD, spare);
#endif
}
*/
import "C"

const (
	// mappedFrom is the size in bytes from which a buffer in the computer's own memory
	// is mapped from the system, and given back when it is freed.
	mappedFrom = 8 << 20
	// spareHeap is how much freed memory of smaller buffers the allocator may keep.
	spareHeap = 64 << 20
)

// mapLargeBuffers fixes where glibc's allocator begins to map. By itself it raises
// that size to the largest buffer freed so far, up to 32 MiB: then encoders that come
// and go leave holes in its heap, which grows far beyond what is in use. Smaller
// buffers, such as states, come and go with each token and stay in the heap, whose
// pages are there already. With another C library this does nothing.
func mapLargeBuffers() { C.map_large(mappedFrom, spareHeap) }
