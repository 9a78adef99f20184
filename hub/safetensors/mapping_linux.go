package safetensors

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
)

// prefetchSize is the length in bytes from which a read first asks the kernel for
// its whole range at once instead of faulting page after page.
const prefetchSize = 64 << 10

// mapping is a file mapped read-only. Bytes leave it only as copies, made where a
// fault is turned into an error.
type mapping struct {
	mu   sync.RWMutex // held for reading while bytes are copied
	data []byte       // nil after close
	file *os.File
}

// newMapping maps the first size bytes of f and takes over f. The kernel is told
// not to read ahead: pages that no tensor asks for stay on the disk.
func newMapping(f *os.File, size int64) (*mapping, error) {
	if size > math.MaxInt {
		return nil, fmt.Errorf("%d bytes do not fit this machine's addresses", size)
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	if err := syscall.Madvise(data, syscall.MADV_RANDOM); err != nil {
		syscall.Munmap(data)
		return nil, err
	}
	return &mapping{data: data, file: f}, nil
}

// errFault reports that the kernel could not deliver a mapped page.
var errFault = errors.New("the disk did not deliver the data")

// readAt fills p from off on; the range lies inside the mapping. It returns
// ErrTruncated when the file is shorter than at the time of mapping.
func (m *mapping) readAt(p []byte, off int64) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.data == nil {
		return os.ErrClosed
	}
	if len(p) >= prefetchSize {
		aligned := off - off%int64(os.Getpagesize())
		// A hint: when the kernel declines it, the copy faults the pages in.
		_ = syscall.Madvise(m.data[aligned:off+int64(len(p))], syscall.MADV_WILLNEED)
	}
	fault := copyMapped(p, m.data[off:])
	// The size is looked at in any case: the part of a page behind a new end reads
	// as zeros without a fault.
	info, err := m.file.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() < int64(len(m.data)):
		return ErrTruncated
	}
	return fault
}

// copyMapped copies mapped bytes. A page that the file no longer has, or that the
// disk cannot deliver, raises a fault, which becomes errFault.
func copyMapped(dst, src []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = errFault
		default:
			panic(r)
		}
	}()
	copy(dst, src)
	return nil
}

// close unmaps and closes the file, once.
func (m *mapping) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.data == nil {
		return os.ErrClosed
	}
	err := syscall.Munmap(m.data)
	m.data = nil
	if closeErr := m.file.Close(); err == nil {
		err = closeErr
	}
	return err
}
