package data

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"syscall"
)

// mapping is a file mapped read-only. Bytes leave it only as copies, made where a fault is
// turned into an error.
type mapping struct {
	data []byte
	file *os.File
}

// newMapping maps the first size bytes of f, at least one, and takes over f.
func newMapping(f *os.File, size int64) (*mapping, error) {
	if size > math.MaxInt {
		return nil, fmt.Errorf("%d bytes do not fit this machine's addresses", size)
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return &mapping{data: data, file: f}, nil
}

// readAt fills p from off on; the range lies inside the mapping. A page that the file no
// longer has, or that the disk cannot deliver, raises a fault, which becomes ErrTruncated.
func (m *mapping) readAt(p []byte, off int64) (err error) {
	if m.data == nil {
		return os.ErrClosed
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = fmt.Errorf("%w: it was cut, or the disk did not deliver it", ErrTruncated)
		default:
			panic(r)
		}
	}()
	copy(p, m.data[off:])
	return nil
}

func (m *mapping) close() error {
	if m.data == nil {
		return os.ErrClosed
	}
	err := syscall.Munmap(m.data)
	m.data = nil
	return errors.Join(err, m.file.Close())
}
