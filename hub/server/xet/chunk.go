package xet

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

// MaxChunk is the largest chunk in bytes, before and after compression.
const MaxChunk = 128 << 10

// chunkHeaderSize is the length in bytes of the header of a chunk: version,
// packed size (3 bytes), scheme, raw size (3 bytes).
const chunkHeaderSize = 8

// How a chunk is packed.
const (
	schemeNone    = 0
	schemeLZ4     = 1 // an LZ4 frame
	schemeGrouped = 2 // bytes grouped by their position in each four, then as schemeLZ4
)

// chunkHeader is the header of a chunk.
type chunkHeader struct {
	packed, raw int
	scheme      byte
}

// parseChunkHeader reads the header of a chunk and checks its sizes, so that
// nothing is allocated for a chunk that is too large.
func parseChunkHeader(b [chunkHeaderSize]byte) (chunkHeader, error) {
	h := chunkHeader{
		packed: int(b[1]) | int(b[2])<<8 | int(b[3])<<16,
		scheme: b[4],
		raw:    int(b[5]) | int(b[6])<<8 | int(b[7])<<16,
	}
	switch {
	case b[0] != 0:
		return h, fmt.Errorf("read chunk header: version %d, want 0: %w", b[0], ErrFormat)
	case h.scheme > schemeGrouped:
		return h, fmt.Errorf("read chunk header: unknown compression %d: %w", h.scheme, ErrFormat)
	case h.raw > MaxChunk || h.packed > MaxChunk:
		return h, fmt.Errorf("read chunk header: %d bytes, packed %d, allowed are %d: %w", h.raw, h.packed, MaxChunk, ErrTooLarge)
	case h.raw == 0 || h.packed == 0:
		return h, fmt.Errorf("read chunk header: an empty chunk: %w", ErrFormat)
	case h.scheme == schemeNone && h.raw != h.packed:
		return h, fmt.Errorf("read chunk header: %d bytes stored as %d without compression: %w", h.raw, h.packed, ErrChunkSize)
	}
	return h, nil
}

// decoder reads chunks. It keeps its buffers from chunk to chunk. The zero value
// is ready for use by one goroutine.
type decoder struct {
	packed, raw, grouped []byte
	frames               *lz4.Reader
}

// read reads the body of the chunk with the header h. The bytes that it returns
// are valid until the next call.
func (d *decoder) read(src io.Reader, h chunkHeader) ([]byte, error) {
	d.packed = sized(d.packed, h.packed)
	if _, err := io.ReadFull(src, d.packed); err != nil {
		return nil, fmt.Errorf("read chunk: %w", truncated(err))
	}
	if h.scheme == schemeNone {
		return d.packed, nil
	}
	d.raw = sized(d.raw, h.raw)
	if err := d.unpack(d.raw); err != nil {
		return nil, fmt.Errorf("unpack chunk: %w", err)
	}
	if h.scheme == schemeLZ4 {
		return d.raw, nil
	}
	d.grouped = sized(d.grouped, h.raw)
	ungroup(d.grouped, d.raw)
	return d.grouped, nil
}

// unpack fills dst from the LZ4 frame in d.packed, which must give exactly that
// many bytes.
func (d *decoder) unpack(dst []byte) error {
	if d.frames == nil {
		d.frames = lz4.NewReader(nil)
	}
	d.frames.Reset(bytes.NewReader(d.packed))
	if _, err := io.ReadFull(d.frames, dst); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return ErrChunkSize
		}
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var more [1]byte
	n, err := io.ReadFull(d.frames, more[:])
	if n > 0 {
		return ErrChunkSize
	}
	if err != io.EOF {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

// ungroup undoes the grouping of bytes: src holds first all bytes at positions
// divisible by four, then those that follow them, and so on.
func ungroup(dst, src []byte) {
	at := 0
	for first := range 4 {
		for i := first; i < len(dst); i += 4 {
			dst[i] = src[at]
			at++
		}
	}
}

// sized is buf with the length n, anew if it is too short.
func sized(buf []byte, n int) []byte {
	if cap(buf) < n {
		return make([]byte, n, MaxChunk)
	}
	return buf[:n]
}

// truncated replaces the end of the input by ErrTruncated.
func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}
