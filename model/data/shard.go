package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// The layout is in the package comment.
const (
	shardMagic   = "MESSHARD"
	shardVersion = 1
	headerSize   = 80
	summedHeader = 48 // bytes of the header that the checksum covers
	entrySize    = 16 // of the index
)

// header is the fixed part of a shard.
type header struct {
	width, vocab           int
	tokens, documents, len int64 // len is bytes of text
	sum                    [sha256.Size]byte
}

// widthFor is the bytes of an id.
func widthFor(vocab int) int {
	if vocab <= 1<<16 {
		return 2
	}
	return 4
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, shardMagic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], shardVersion)
	le.PutUint32(b[12:], uint32(h.width))
	le.PutUint64(b[16:], uint64(h.vocab))
	le.PutUint64(b[24:], uint64(h.tokens))
	le.PutUint64(b[32:], uint64(h.documents))
	le.PutUint64(b[40:], uint64(h.len))
	copy(b[summedHeader:], h.sum[:])
	return b
}

// indexAt is where the index begins.
func (h *header) indexAt() int64 {
	return (headerSize + h.tokens*int64(h.width) + 7) &^ 7
}

func (h *header) size() int64 { return h.indexAt() + h.documents*entrySize }

// parseHeader reads the header of a file of a size, and checks that the two agree.
func parseHeader(b []byte, size int64) (*header, error) {
	if size < headerSize || len(b) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes, a header has %d", ErrTruncated, size, headerSize)
	}
	le := binary.LittleEndian
	if string(b[:8]) != shardMagic {
		return nil, fmt.Errorf("%w: it does not begin with %s", ErrFormat, shardMagic)
	}
	if v := le.Uint32(b[8:]); v != shardVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads version %d", ErrFormat, v, shardVersion)
	}
	vocab, tokens, documents, length := le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:]), le.Uint64(b[40:])
	// These limits keep the sums below from overflowing; no real shard comes near.
	const limit = 1 << 56
	if vocab == 0 || vocab > 1<<31 || tokens > limit || documents > limit || length > limit {
		return nil, fmt.Errorf("%w: impossible sizes in the header", ErrFormat)
	}
	h := &header{width: int(le.Uint32(b[12:])), vocab: int(vocab), tokens: int64(tokens), documents: int64(documents), len: int64(length)}
	copy(h.sum[:], b[summedHeader:headerSize])
	if h.width != widthFor(h.vocab) {
		return nil, fmt.Errorf("%w: %d bytes an id for a vocabulary of %d", ErrFormat, h.width, h.vocab)
	}
	switch {
	case size < h.size():
		return nil, fmt.Errorf("%w: %d bytes, the header says %d", ErrTruncated, size, h.size())
	case size > h.size():
		return nil, fmt.Errorf("%w: %d bytes, the header says %d", ErrFormat, size, h.size())
	}
	return h, nil
}

// Shard is an open shard. Its methods may be called from several goroutines, Close
// excepted.
type Shard struct {
	path string
	head header
	data *mapping
	ends []int64 // of documents, in tokens
	lens []int64 // of documents, in bytes of text
}

// OpenShard opens a shard and checks that header, size and index fit together; [Shard.Verify]
// reads the rest. Errors about the content are a [*ShardError].
func OpenShard(path string) (*Shard, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open shard: %w", err)
	}
	s, err := readShard(path, f)
	if err != nil {
		f.Close()
		return nil, shardError(path, err)
	}
	return s, nil
}

// shardError makes a ShardError of an error, which may wrap one of the sentinels with
// details behind it.
func shardError(path string, err error) error {
	if _, ok := errors.AsType[*ShardError](err); ok {
		return err
	}
	for _, kind := range []error{ErrTruncated, ErrChecksum, ErrFormat} {
		if errors.Is(err, kind) {
			detail, _ := bytes.CutPrefix([]byte(err.Error()), []byte(kind.Error()+": "))
			if string(detail) == kind.Error() {
				detail = nil
			}
			return &ShardError{File: path, Err: kind, Detail: string(detail)}
		}
	}
	return &ShardError{File: path, Err: err}
}

// readShard takes over f if there is no error.
func readShard(path string, f *os.File) (*Shard, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	start := make([]byte, headerSize)
	if _, err := f.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	h, err := parseHeader(start, info.Size())
	if err != nil {
		return nil, err
	}
	index := make([]byte, h.documents*entrySize)
	if _, err := f.ReadAt(index, h.indexAt()); err != nil && len(index) > 0 {
		return nil, err
	}
	s := &Shard{path: path, head: *h}
	if s.ends, s.lens, err = parseIndex(index, h); err != nil {
		return nil, err
	}
	if s.data, err = newMapping(f, info.Size()); err != nil {
		return nil, err
	}
	return s, nil
}

// parseIndex reads the index and checks it against the header.
func parseIndex(b []byte, h *header) (ends, lens []int64, err error) {
	ends, lens = make([]int64, h.documents), make([]int64, h.documents)
	var end, sum int64
	for i := range ends {
		e, n := binary.LittleEndian.Uint64(b[i*entrySize:]), binary.LittleEndian.Uint64(b[i*entrySize+8:])
		if e < uint64(end) || e > uint64(h.tokens) || n > uint64(h.len-sum) {
			return nil, nil, fmt.Errorf("%w: document %d of the index does not fit", ErrFormat, i)
		}
		end, sum = int64(e), sum+int64(n)
		ends[i], lens[i] = end, int64(n)
	}
	if end != h.tokens || sum != h.len {
		return nil, nil, fmt.Errorf("%w: the index ends at token %d and byte %d, the header says %d and %d", ErrFormat, end, sum, h.tokens, h.len)
	}
	return ends, lens, nil
}

// Tokens returns the number of ids.
func (s *Shard) Tokens() int64 { return s.head.tokens }

// Documents returns the number of documents.
func (s *Shard) Documents() int { return len(s.ends) }

// Bytes returns the length of all texts in bytes of UTF-8.
func (s *Shard) Bytes() int64 { return s.head.len }

// VocabSize returns the number of ids of the vocabulary.
func (s *Shard) VocabSize() int { return s.head.vocab }

// Sum returns the checksum of the header, in hex.
func (s *Shard) Sum() string { return hex.EncodeToString(s.head.sum[:]) }

// Span returns where document i begins and ends, in tokens, and the bytes of its text.
func (s *Shard) Span(i int) (lo, hi, bytes int64) {
	if i > 0 {
		lo = s.ends[i-1]
	}
	return lo, s.ends[i], s.lens[i]
}

// Read fills ids with the tokens from lo on, which must all be there.
func (s *Shard) Read(ids []int32, lo int64) error {
	if lo < 0 || lo+int64(len(ids)) > s.head.tokens {
		return fmt.Errorf("read shard %s: tokens %d to %d of %d", s.path, lo, lo+int64(len(ids)), s.head.tokens)
	}
	if err := s.data.readIDs(ids, headerSize+lo*int64(s.head.width), s.head.width); err != nil {
		return shardError(s.path, err)
	}
	return nil
}

// Verify reads the whole shard and compares its checksum; every id must be below the
// vocabulary's size.
func (s *Shard) Verify() error {
	const block = 1 << 20
	sum := sha256.New()
	buf := make([]byte, block)
	idsEnd := headerSize + s.head.tokens*int64(s.head.width)
	for off := int64(headerSize); off < s.head.size(); off += block {
		b := buf[:min(block, s.head.size()-off)]
		if err := s.data.readAt(b, off); err != nil {
			return shardError(s.path, err)
		}
		sum.Write(b)
		// block is a multiple of the width, so no id is cut.
		if n := min(idsEnd-off, int64(len(b))); n > 0 && !below(b[:n], s.head.width, s.head.vocab) {
			return shardError(s.path, fmt.Errorf("%w: an id is not below the vocabulary's size %d", ErrFormat, s.head.vocab))
		}
	}
	sum.Write(s.head.encode()[:summedHeader])
	if !bytes.Equal(sum.Sum(nil), s.head.sum[:]) {
		return shardError(s.path, ErrChecksum)
	}
	return nil
}

// below reports whether all ids are below vocab.
func below(b []byte, width, vocab int) bool {
	var most uint32
	if width == 2 {
		for ; len(b) >= 2; b = b[2:] {
			most = max(most, uint32(binary.LittleEndian.Uint16(b)))
		}
	} else {
		for ; len(b) >= 4; b = b[4:] {
			most = max(most, binary.LittleEndian.Uint32(b))
		}
	}
	return int64(most) < int64(vocab)
}

// Close lets the file go.
func (s *Shard) Close() error { return s.data.close() }
