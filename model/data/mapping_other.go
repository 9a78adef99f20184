//go:build !linux

package data

import (
	"errors"
	"io"
	"os"
)

// mapping stands for the mapped file where none is mapped: bytes are read from the file
// each time.
type mapping struct{ file *os.File }

// newMapping takes over f.
func newMapping(f *os.File, _ int64) (*mapping, error) { return &mapping{file: f}, nil }

// readAt fills p from off on. It returns ErrTruncated when the file ends before.
func (m *mapping) readAt(p []byte, off int64) error {
	_, err := m.file.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		return ErrTruncated
	}
	return err
}

func (m *mapping) close() error { return m.file.Close() }
