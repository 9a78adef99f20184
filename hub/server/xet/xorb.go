package xet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Limits of one xorb.
const (
	// MaxXorb is the most bytes of packed chunks in a xorb.
	MaxXorb = 64 << 20
	// MaxXorbChunks is the most chunks in a xorb. Clients stop at 8192.
	MaxXorbChunks = 64 << 10
	// MaxXorbBody is the most bytes of a serialized xorb: its chunks, their headers
	// and a footer.
	MaxXorbBody = MaxXorb + MaxXorbChunks*(chunkHeaderSize+footerPerChunk)

	footerPerChunk = 48 // bytes that a footer has for each chunk, and more
)

// footerMagic begins the footer that may follow the chunks.
var footerMagic = []byte("XETBLOB")

// StoredChunk is a chunk and where it lies in a serialized xorb.
type StoredChunk struct {
	Chunk
	Offset uint32 // bytes before its header
}

// ReadXorb reads a serialized xorb and returns its chunks. Every chunk is unpacked
// and hashed, and together they must have the hash want. If keep is not nil, the
// bytes of the chunks with their headers are written to it as they arrive; what it
// got is worth nothing if ReadXorb returns an error. A footer is not needed and
// not read.
func ReadXorb(src io.Reader, want Hash, keep io.Writer) ([]StoredChunk, error) {
	if keep == nil {
		keep = io.Discard
	}
	in := bufio.NewReaderSize(src, 64<<10)
	var d decoder
	var t tree
	var chunks []StoredChunk
	offset := 0
	for {
		h, raw, err := nextHeader(in)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read xorb %s, chunk %d: %w", want, len(chunks), err)
		}
		next := offset + chunkHeaderSize + h.packed
		if next > MaxXorb+MaxXorbChunks*chunkHeaderSize || len(chunks) == MaxXorbChunks {
			return nil, fmt.Errorf("read xorb %s: more than %d bytes or %d chunks: %w", want, MaxXorb, MaxXorbChunks, ErrTooLarge)
		}
		data, err := d.read(in, h)
		if err != nil {
			return nil, fmt.Errorf("read xorb %s, chunk %d: %w", want, len(chunks), err)
		}
		if _, err := keep.Write(raw[:]); err != nil {
			return nil, fmt.Errorf("keep xorb %s: %w", want, err)
		}
		if _, err := keep.Write(d.packed); err != nil {
			return nil, fmt.Errorf("keep xorb %s: %w", want, err)
		}
		c := Chunk{ChunkHash(data), uint32(len(data))}
		t.add(c.Hash, uint64(c.Size))
		chunks = append(chunks, StoredChunk{c, uint32(offset)})
		offset = next
	}
	if len(chunks) == 0 {
		return nil, fmt.Errorf("read xorb %s: it has no chunks: %w", want, ErrFormat)
	}
	if got := t.root(); got != want {
		return nil, fmt.Errorf("read xorb %s: its hash is %s: %w", want, got, ErrXorbHash)
	}
	return chunks, nil
}

// nextHeader reads the header of the next chunk, parsed and as it is. It returns
// io.EOF after the last chunk.
func nextHeader(in *bufio.Reader) (chunkHeader, [chunkHeaderSize]byte, error) {
	var raw [chunkHeaderSize]byte
	n, err := io.ReadFull(in, raw[:])
	if n >= len(footerMagic) && bytes.HasPrefix(raw[:n], footerMagic) {
		return chunkHeader{}, raw, io.EOF
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return chunkHeader{}, raw, ErrTruncated
	}
	if err != nil {
		return chunkHeader{}, raw, err
	}
	h, err := parseChunkHeader(raw)
	return h, raw, err
}
