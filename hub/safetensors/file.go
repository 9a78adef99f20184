package safetensors

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// File is one open safetensors file. Its methods may be called at the same time.
type File struct {
	path     string
	data     *mapping
	metadata map[string]string
	tensors  map[string]Tensor
}

// Tensor describes one tensor of an open file and reads its bytes. It is a small
// value without the data; it stays usable until the file is closed.
type Tensor struct {
	Name  string
	DType DType
	Shape []int // no dimensions for a scalar; not to be modified

	file  *File
	start int64 // bytes from the start of the file
	size  int64 // bytes
}

// Open maps the file at path and checks its header; no tensor is read. A fault of
// the file is an [*Error]; other errors are those of the operating system.
func Open(path string) (*File, error) {
	osFile, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open safetensors file: %w", err)
	}
	f, err := newFile(path, osFile)
	if err != nil {
		osFile.Close()
		return nil, err
	}
	return f, nil
}

func newFile(path string, osFile *os.File) (*File, error) {
	info, err := osFile.Stat()
	if err != nil {
		return nil, fmt.Errorf("open safetensors file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open safetensors file %s: not a regular file", path)
	}
	h, err := readHeader(osFile, info.Size())
	if err != nil {
		return nil, inFile(path, err)
	}
	data, err := newMapping(osFile, info.Size())
	if err != nil {
		return nil, fmt.Errorf("map safetensors file %s: %w", path, err)
	}
	f := &File{path: path, data: data, metadata: h.metadata, tensors: make(map[string]Tensor, len(h.entries))}
	for _, e := range h.entries {
		f.tensors[e.name] = Tensor{Name: e.name, DType: e.dtype, Shape: ints(e.shape), file: f,
			start: h.dataStart + int64(e.begin), size: int64(e.end - e.begin)}
	}
	return f, nil
}

// ints converts a checked shape, whose dimensions all fit.
func ints(shape []uint64) []int {
	dims := make([]int, len(shape))
	for i, dim := range shape {
		dims[i] = int(dim)
	}
	return dims
}

// inFile adds the path to a fault.
func inFile(path string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Path = path
		return e
	}
	return fmt.Errorf("read safetensors file %s: %w", path, err)
}

// Close unmaps and closes the file. Tensors of the file then read os.ErrClosed.
func (f *File) Close() error { return f.data.close() }

// Names returns the names of the tensors, sorted.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.tensors)) }

// Tensor returns the tensor called name, false when there is none.
func (f *File) Tensor(name string) (Tensor, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// Metadata returns a copy of the file's free-form metadata, nil when it has none.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }

// NumElements returns the product of the shape, 1 for a scalar.
func (t Tensor) NumElements() int64 { return t.size * 8 / int64(t.DType.Bits()) }

// NumBytes returns the size of the data.
func (t Tensor) NumBytes() int64 { return t.size }

// ReadAt copies the tensor's bytes from off on into p, as io.ReaderAt asks. A file
// that was cut short gives [ErrTruncated], a closed one os.ErrClosed.
func (t Tensor) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read tensor %q: offset %d is negative", t.Name, off)
	}
	if off >= t.size {
		return 0, io.EOF
	}
	n := min(int64(len(p)), t.size-off)
	err := t.file.data.readAt(p[:n], t.start+off)
	switch {
	case errors.Is(err, ErrTruncated):
		return 0, &Error{Path: t.file.path, Tensor: t.Name, Err: ErrTruncated}
	case err != nil:
		return 0, fmt.Errorf("read tensor %q of %s: %w", t.Name, t.file.path, err)
	case n < int64(len(p)):
		return int(n), io.EOF
	}
	return int(n), nil
}

// Bytes returns a copy of the tensor's data: elements little-endian, last
// dimension fastest.
func (t Tensor) Bytes() ([]byte, error) {
	p := make([]byte, t.size)
	if t.size == 0 {
		return p, nil
	}
	if _, err := t.ReadAt(p, 0); err != nil {
		return nil, err
	}
	return p, nil
}
