package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	lengthSize  = 8           // bytes before the header that give its length
	maxHeader   = 100_000_000 // bytes, the reference's limit
	metadataKey = "__metadata__"
)

// entry is one tensor of a header. Begin and end are offsets from the start of
// the data.
type entry struct {
	name       string
	dtype      DType
	shape      []uint64
	begin, end uint64
}

// header is a checked header: entries in the order of their data.
type header struct {
	metadata  map[string]string
	entries   []entry
	dataStart int64 // bytes from the start of the file
}

// readHeader reads and checks the header of a file of size bytes. It allocates
// nothing before it knows that the file is long enough, and reads no data.
func readHeader(src io.ReaderAt, size int64) (*header, error) {
	end, err := HeaderBytes(src, size)
	if err != nil {
		return nil, err
	}
	raw := make([]byte, end-lengthSize)
	if _, err := io.ReadFull(io.NewSectionReader(src, lengthSize, end-lengthSize), raw); err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	if !utf8.Valid(raw) {
		return nil, &Error{Err: ErrHeaderUTF8}
	}
	h, err := decodeHeader(raw)
	if err != nil {
		return nil, err
	}
	h.dataStart = end
	return h, h.check(size - h.dataStart)
}

// HeaderBytes reads the first 8 bytes of a file of size bytes, and returns how many
// its header has with them.
func HeaderBytes(src io.ReaderAt, size int64) (int64, error) {
	if size < lengthSize {
		return 0, &Error{Err: ErrHeaderTooSmall, Detail: fmt.Sprintf("%d bytes", size)}
	}
	var length [lengthSize]byte
	if _, err := src.ReadAt(length[:], 0); err != nil {
		return 0, fmt.Errorf("read header length: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader {
		return 0, &Error{Err: ErrHeaderTooLarge, Detail: fmt.Sprintf("%d bytes", n)}
	}
	if int64(n) > size-lengthSize {
		return 0, &Error{Err: ErrHeaderLength, Detail: fmt.Sprintf("header of %d bytes in a file of %d", n, size)}
	}
	return lengthSize + int64(n), nil
}

// decodeHeader decodes the header's JSON and sorts the tensors by their data.
func decodeHeader(raw []byte) (*header, error) {
	d := &decoder{dec: jsontext.NewDecoder(bytes.NewReader(raw)), kind: ErrHeaderJSON}
	h := &header{}
	err := d.object(func(key string) (err error) {
		if key == metadataKey {
			h.metadata, err = d.stringMap()
			return err
		}
		e, err := d.entry(key)
		h.entries = append(h.entries, e)
		return err
	})
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(h.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.name, b.name))
	})
	return h, nil
}

// check reports the first entry whose range does not follow the one before or
// does not fit its shape, and a last range that does not end the data.
func (h *header) check(dataSize int64) error {
	var at uint64
	for _, e := range h.entries {
		detail := fmt.Sprintf("data_offsets [%d, %d], the data before ends at %d", e.begin, e.end, at)
		switch {
		case e.end < e.begin:
			return &Error{Tensor: e.name, Err: ErrReversed, Detail: detail}
		case e.begin < at:
			return &Error{Tensor: e.name, Err: ErrOverlap, Detail: detail}
		case e.begin > at:
			return &Error{Tensor: e.name, Err: ErrHole, Detail: detail}
		}
		at = e.end
		size, err := byteSize(e.dtype, e.shape)
		if err != nil {
			return &Error{Tensor: e.name, Err: err, Detail: fmt.Sprintf("%s %v", e.dtype, e.shape)}
		}
		if size != e.end-e.begin {
			return &Error{Tensor: e.name, Err: ErrSize,
				Detail: fmt.Sprintf("%s %v takes %d bytes, data_offsets give %d", e.dtype, e.shape, size, e.end-e.begin)}
		}
	}
	if at != uint64(dataSize) {
		return &Error{Err: ErrFileSize, Detail: fmt.Sprintf("tensors take %d bytes, the file has %d after its header", at, dataSize)}
	}
	return nil
}

// byteSize returns the bytes of a tensor, ErrOverflow or ErrMisaligned. Every
// dimension must fit an int; the number of bits must fit 64 bits.
func byteSize(d DType, shape []uint64) (uint64, error) {
	n := uint64(1)
	for _, dim := range append(slices.Clip(shape), uint64(d.Bits())) {
		hi, lo := bits.Mul64(n, dim)
		if hi != 0 || dim > math.MaxInt {
			return 0, ErrOverflow
		}
		n = lo
	}
	if n%8 != 0 {
		return 0, ErrMisaligned
	}
	return n / 8, nil
}

// decoder reads the few forms of JSON that headers and indexes consist of. Every
// fault is an *Error of the given kind, or of ErrDuplicateKey.
type decoder struct {
	dec  *jsontext.Decoder
	kind error
}

func (d *decoder) fault(detail string) error { return &Error{Err: d.kind, Detail: detail} }

// token reads the next token, which must be of the given kind.
func (d *decoder) token(kind jsontext.Kind, what string) (jsontext.Token, error) {
	tok, err := d.dec.ReadToken()
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return tok, &Error{Err: ErrDuplicateKey, Detail: err.Error()}
	case err != nil:
		return tok, d.fault(err.Error())
	case tok.Kind() != kind:
		return tok, d.fault(fmt.Sprintf("%s must be %s, byte %d", d.dec.StackPointer(), what, d.dec.InputOffset()))
	}
	return tok, nil
}

// object reads an object and calls value at each of its values.
func (d *decoder) object(value func(key string) error) error {
	if _, err := d.token('{', "an object"); err != nil {
		return err
	}
	for d.dec.PeekKind() != '}' {
		key, err := d.token('"', "a key")
		if err != nil {
			return err
		}
		if err := value(key.String()); err != nil {
			return err
		}
	}
	_, err := d.token('}', "closed")
	return err
}

// skip passes over one value of any form.
func (d *decoder) skip() error {
	err := d.dec.SkipValue()
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return &Error{Err: ErrDuplicateKey, Detail: err.Error()}
	case err != nil:
		return d.fault(err.Error())
	}
	return nil
}

// end reports anything but blanks behind the last value.
func (d *decoder) end() error {
	if _, err := d.dec.ReadToken(); err != io.EOF {
		return d.fault(fmt.Sprintf("something follows the object at byte %d", d.dec.InputOffset()))
	}
	return nil
}

// stringMap reads an object whose values are strings.
func (d *decoder) stringMap() (map[string]string, error) {
	m := map[string]string{}
	err := d.object(func(key string) error {
		tok, err := d.token('"', "a string")
		if err == nil {
			m[key] = tok.String()
		}
		return err
	})
	return m, err
}

// numbers reads an array of unsigned integers, written without point or exponent.
func (d *decoder) numbers() ([]uint64, error) {
	if _, err := d.token('[', "an array"); err != nil {
		return nil, err
	}
	list := []uint64{}
	for d.dec.PeekKind() != ']' {
		tok, err := d.token('0', "a number")
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(tok.String(), 10, 64)
		if err != nil {
			return nil, d.fault(fmt.Sprintf("%s: %s is not an integer from 0 to 2^64-1", d.dec.StackPointer(), tok))
		}
		list = append(list, n)
	}
	_, err := d.token(']', "closed")
	return list, err
}

// entry reads one tensor's description. Keys that the format does not have are
// passed over, as the reference does.
func (d *decoder) entry(name string) (entry, error) {
	e := entry{name: name}
	var offsets []uint64
	typed := false
	err := d.object(func(key string) (err error) {
		switch key {
		case "dtype":
			var tok jsontext.Token
			if tok, err = d.token('"', "a string"); err == nil {
				e.dtype, typed = DType(tok.String()), true
			}
		case "shape":
			e.shape, err = d.numbers()
		case "data_offsets":
			offsets, err = d.numbers()
		default:
			err = d.skip()
		}
		return err
	})
	switch {
	case err != nil:
		return e, err
	case !typed || e.shape == nil || offsets == nil:
		return e, &Error{Tensor: name, Err: d.kind, Detail: "dtype, shape and data_offsets are all needed"}
	case len(offsets) != 2:
		return e, &Error{Tensor: name, Err: d.kind, Detail: fmt.Sprintf("data_offsets has %d numbers, not 2", len(offsets))}
	case e.dtype.Bits() == 0:
		return e, &Error{Tensor: name, Err: ErrDType, Detail: string(e.dtype)}
	}
	e.begin, e.end = offsets[0], offsets[1]
	return e, nil
}
