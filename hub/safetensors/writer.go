package safetensors

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// chunkSize is the number of bytes copied between two looks at the context.
const chunkSize = 1 << 20

// Spec describes a tensor to be written.
type Spec struct {
	Name  string
	DType DType
	Shape []int // empty for a scalar
}

// Writer writes one file, tensor after tensor. Until Commit the file exists under
// a temporary name beside its target; Abort, or any fault, removes it. A Writer is
// used by one goroutine.
type Writer struct {
	path   string
	temp   *tempFile
	out    *bufio.Writer
	layout []Spec
	sizes  []int64 // bytes, by layout
	next   int     // index in layout
	err    error   // first fault, or ErrDone: nothing more can be written
}

// Create starts a file of the given tensors, in any order, and free-form metadata,
// which is left out when nil. Faults of the specs are an [*Error]:
// [ErrDuplicateKey], [ErrReservedName], [ErrHeaderUTF8], [ErrDType], [ErrOverflow],
// [ErrMisaligned], [ErrHeaderTooLarge].
func Create(path string, specs []Spec, metadata map[string]string) (*Writer, error) {
	w := &Writer{path: path, layout: sorted(specs)}
	head, err := w.header(metadata)
	if err != nil {
		return nil, inFile(path, err)
	}
	if w.temp, err = createTemp(path); err != nil {
		return nil, err
	}
	w.out = bufio.NewWriterSize(struct{ io.Writer }{w.temp}, chunkSize) // without ReadFrom, which bypasses the buffer
	if _, err := w.out.Write(head); err != nil {
		return nil, w.fail(fmt.Errorf("write %s: %w", path, err))
	}
	return w, nil
}

// sorted returns the specs in the order of their data: the last dtype of the list
// first, then by name.
func sorted(specs []Spec) []Spec {
	return slices.SortedStableFunc(slices.Values(specs), func(a, b Spec) int {
		return cmp.Or(cmp.Compare(b.DType.rank(), a.DType.rank()), cmp.Compare(a.Name, b.Name))
	})
}

// header checks the specs, sets the sizes and returns the bytes before the data.
func (w *Writer) header(metadata map[string]string) ([]byte, error) {
	var buf bytes.Buffer
	buf.Write(make([]byte, lengthSize))
	buf.WriteByte('{')
	if metadata != nil {
		text, err := metadataJSON(metadata)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&buf, `"%s":%s`, metadataKey, text)
	}
	var at int64
	seen := make(map[string]bool, len(w.layout))
	for i, s := range w.layout {
		if seen[s.Name] {
			return nil, &Error{Tensor: s.Name, Err: ErrDuplicateKey}
		}
		seen[s.Name] = true
		size, err := specSize(s)
		if err != nil {
			return nil, err
		}
		if size > math.MaxInt64-maxHeader-lengthSize-at {
			return nil, &Error{Tensor: s.Name, Err: ErrOverflow, Detail: "the file would be too large"}
		}
		if i > 0 || metadata != nil {
			buf.WriteByte(',')
		}
		buf.Write(quote(s.Name))
		fmt.Fprintf(&buf, `:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, s.DType, shapeJSON(s.Shape), at, at+size)
		at += size
		w.sizes = append(w.sizes, size)
	}
	buf.WriteByte('}')
	for buf.Len()%lengthSize != 0 {
		buf.WriteByte(' ')
	}
	head := buf.Bytes()
	n := len(head) - lengthSize
	if n > maxHeader {
		return nil, &Error{Err: ErrHeaderTooLarge, Detail: fmt.Sprintf("%d bytes", n)}
	}
	binary.LittleEndian.PutUint64(head, uint64(n))
	return head, nil
}

// specSize checks a spec and returns the bytes of its data.
func specSize(s Spec) (int64, error) {
	detail := fmt.Sprintf("%s %v", s.DType, s.Shape)
	if s.Name == metadataKey {
		return 0, &Error{Tensor: s.Name, Err: ErrReservedName}
	}
	if !utf8.ValidString(s.Name) {
		return 0, &Error{Tensor: s.Name, Err: ErrHeaderUTF8}
	}
	if s.DType.Bits() == 0 {
		return 0, &Error{Tensor: s.Name, Err: ErrDType, Detail: detail}
	}
	shape := make([]uint64, len(s.Shape))
	for i, dim := range s.Shape {
		shape[i] = uint64(dim) // a negative dimension overflows
	}
	size, err := byteSize(s.DType, shape)
	if err != nil {
		return 0, &Error{Tensor: s.Name, Err: err, Detail: detail}
	}
	return int64(size), nil
}

// metadataJSON writes the metadata in the order of its keys.
func metadataJSON(metadata map[string]string) ([]byte, error) {
	b := []byte{'{'}
	for i, key := range sortedKeys(metadata) {
		if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
			return nil, &Error{Err: ErrHeaderUTF8, Detail: fmt.Sprintf("metadata %q", key)}
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, quote(key)...), ':'), quote(metadata[key])...)
	}
	return append(b, '}'), nil
}

// quote writes a valid string as JSON, escaping only what JSON must.
func quote(s string) []byte {
	b, _ := jsontext.AppendQuote(nil, s) // fails on invalid UTF-8 alone
	return b
}

func shapeJSON(shape []int) []byte {
	b := []byte{'['}
	for i, dim := range shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(dim), 10)
	}
	return append(b, ']')
}

// Layout returns the tensors in the order in which they are to be written: wide
// dtypes first, then by name.
func (w *Writer) Layout() []Spec { return slices.Clone(w.layout) }

// Write copies the data of the layout's next tensor from r, to the end of r. It
// stops within 1 MiB of ctx's end. After a fault the file is gone and every further
// call returns that fault.
func (w *Writer) Write(ctx context.Context, name string, r io.Reader) error {
	if w.err != nil {
		return w.err
	}
	if w.next == len(w.layout) || w.layout[w.next].Name != name {
		return w.fail(&Error{Path: w.path, Tensor: name, Err: ErrOrder})
	}
	size := w.sizes[w.next]
	n, err := copyChunks(ctx, w.out, r, size)
	if err != nil {
		return w.fail(fmt.Errorf("write tensor %q of %s: %w", name, w.path, err))
	}
	if n != size {
		more := ""
		if n > size {
			more = " or more"
		}
		return w.fail(&Error{Path: w.path, Tensor: name, Err: ErrDataSize, Detail: fmt.Sprintf("%d bytes wanted, %d%s given", size, n, more)})
	}
	w.next++
	return nil
}

// copyChunks copies up to size bytes and returns how many r gave, size+1 when it
// had more.
func copyChunks(ctx context.Context, out io.Writer, r io.Reader, size int64) (int64, error) {
	var done int64
	for done < size {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n, err := io.CopyN(out, r, min(chunkSize, size-done))
		done += n
		if err == io.EOF {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
	n, err := io.CopyN(io.Discard, r, 1)
	if err != nil && err != io.EOF {
		return done, err
	}
	return done + n, ctx.Err()
}

// Commit makes the file appear at its path, replacing what was there, once all its
// bytes are on the disk. [ErrUnwritten] names the first tensor that is missing.
func (w *Writer) Commit() error {
	if w.err != nil {
		return w.err
	}
	if w.next < len(w.layout) {
		return w.fail(&Error{Path: w.path, Tensor: w.layout[w.next].Name, Err: ErrUnwritten})
	}
	if err := w.out.Flush(); err != nil {
		return w.fail(fmt.Errorf("write %s: %w", w.path, err))
	}
	w.err = &Error{Path: w.path, Err: ErrDone}
	return w.temp.commit()
}

// Abort removes the unfinished file. After Commit it does nothing, so that it can
// be deferred.
func (w *Writer) Abort() {
	if w.err == nil {
		_ = w.fail(&Error{Path: w.path, Err: ErrDone})
	}
}

// fail removes the temporary file and remembers why.
func (w *Writer) fail(err error) error {
	w.temp.remove()
	w.err = err
	return err
}

// WriteFile writes a whole file: it calls source for each tensor in the order of
// the layout and copies its reader. An io.ReadCloser is closed.
func WriteFile(ctx context.Context, path string, specs []Spec, metadata map[string]string,
	source func(name string) (io.Reader, error)) error {
	w, err := Create(path, specs, metadata)
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, s := range w.layout {
		r, err := source(s.Name)
		if err != nil {
			return fmt.Errorf("write %s: read tensor %q: %w", path, s.Name, err)
		}
		err = w.Write(ctx, s.Name, r)
		if c, ok := r.(io.Closer); ok {
			c.Close()
		}
		if err != nil {
			return err
		}
	}
	return w.Commit()
}
