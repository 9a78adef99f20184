package pickle

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// File is an open pytorch_model.bin. Its methods may be called at the same time.
type File struct {
	path    string
	file    *os.File
	layouts map[string]*layout
}

// Tensor describes one tensor of an open file and reads its bytes.
type Tensor struct {
	Name  string
	DType DType
	Shape []int // no dimensions for a scalar

	path   string
	src    io.ReaderAt
	layout *layout
}

// Open reads the file's archive and runs its pickle; no tensor is read. A fault of
// the file is an [*Error]; other errors are those of the operating system.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open PyTorch file: %w", err)
	}
	f, err := newFile(path, file)
	if err != nil {
		file.Close()
		return nil, inFile(path, err)
	}
	return f, nil
}

func newFile(path string, file *os.File) (*File, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	a, err := readArchive(file, info.Size())
	if err != nil {
		return nil, err
	}
	layouts, err := a.tensors()
	return &File{path: path, file: file, layouts: layouts}, err
}

// Close closes the file; its tensors can no longer be read.
func (f *File) Close() error { return f.file.Close() }

// Names returns the names of the tensors, sorted.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.layouts)) }

// Tensor returns the tensor called name, false when there is none.
func (f *File) Tensor(name string) (Tensor, bool) {
	l, ok := f.layouts[name]
	if !ok {
		return Tensor{}, false
	}
	return newTensor(name, f.path, f.file, l), true
}

func newTensor(name, path string, src io.ReaderAt, l *layout) Tensor {
	t := Tensor{Name: name, DType: l.dtype, Shape: make([]int, len(l.shape)), path: path, src: src, layout: l}
	for i, dim := range l.shape {
		t.Shape[i] = int(dim)
	}
	return t
}

// NumElements returns the product of the shape, 1 for a scalar.
func (t Tensor) NumElements() int64 { return t.layout.elements }

// NumBytes returns the size of what Bytes returns and Reader reads.
func (t Tensor) NumBytes() int64 { return t.layout.elements * t.DType.Size() }

// Bytes returns the tensor's elements, little-endian, last dimension fastest, in a
// slice of its own.
func (t Tensor) Bytes() ([]byte, error) {
	l, size := t.layout, t.DType.Size()
	out := make([]byte, t.NumBytes())
	if l.elements == 0 {
		return out, nil
	}
	if l.contiguous() {
		return out, t.read(out)
	}
	span := make([]byte, l.span()*size)
	if err := t.read(span); err != nil {
		return nil, err
	}
	l.gather(out, span, size)
	return out, nil
}

// read fills p from the tensor's first element on.
func (t Tensor) read(p []byte) error {
	start := t.layout.storage.start + t.layout.offset*t.DType.Size()
	if _, err := io.ReadFull(io.NewSectionReader(t.src, start, int64(len(p))), p); err != nil {
		return fmt.Errorf("read tensor %q of %s: %w", t.Name, t.path, err)
	}
	return nil
}

// Reader returns a reader of what Bytes returns. A tensor whose elements follow each
// other in the file is streamed from there; another is first put in order in memory.
func (t Tensor) Reader() (io.Reader, error) {
	if t.layout.contiguous() {
		return io.NewSectionReader(t.src, t.layout.storage.start+t.layout.offset*t.DType.Size(), t.NumBytes()), nil
	}
	b, err := t.Bytes()
	return bytes.NewReader(b), err
}
