package xet

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
)

// Reader reads a file from the chunks of its xorbs. It holds one chunk and one
// term's list of chunks in memory. It ends with io.EOF only if every term fits its
// xorb and the whole has the file's hash and sha256; until then the bytes that it
// gave are not proved.
type Reader struct {
	file File
	open func(Hash) (*Xorb, error)

	term   int // the next one
	name   Hash
	xorb   *Xorb // of the last term; nil before the first
	in     *bufio.Reader
	left   int // chunks of the last term that are not read
	decode decoder
	data   []byte // of the last chunk, not returned yet

	tree tree
	sum  hash.Hash
	err  error
}

// NewReader returns a reader of f, which finds xorbs by open. A file without
// sha256 gives ErrNoSHA256, because nothing could prove it. Close the reader.
func NewReader(f File, open func(Hash) (*Xorb, error)) (*Reader, error) {
	if f.SHA256 == (Hash{}) {
		return nil, fmt.Errorf("file %s: %w", f.Hash, ErrNoSHA256)
	}
	return &Reader{file: f, open: open, in: bufio.NewReaderSize(nil, 64<<10), sum: sha256.New()}, nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.data) == 0 {
		if r.err == nil {
			r.err = r.next()
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

// Close closes the xorb that is open.
func (r *Reader) Close() error {
	if r.xorb == nil {
		return nil
	}
	x := r.xorb
	r.xorb = nil
	return x.Close()
}

// next reads the next chunk into r.data.
func (r *Reader) next() error {
	if r.left == 0 {
		if r.term == len(r.file.Terms) {
			return r.prove()
		}
		if err := r.begin(r.file.Terms[r.term]); err != nil {
			return fmt.Errorf("file %s, term %d: %w", r.file.Hash, r.term, err)
		}
		r.term++
	}
	h, _, err := nextHeader(r.in)
	if err == nil {
		r.data, err = r.decode.read(r.in, h)
	}
	if err != nil {
		return fmt.Errorf("read xorb %s: %w", r.name, truncated(err))
	}
	r.left--
	r.sum.Write(r.data) // never fails
	return nil
}

// begin checks a term and goes to its first chunk.
func (r *Reader) begin(t Term) error {
	if r.xorb == nil || r.name != t.Xorb {
		if err := r.Close(); err != nil {
			return err
		}
		x, err := r.open(t.Xorb)
		if err != nil {
			return err
		}
		r.xorb, r.name = x, t.Xorb
	}
	stored, err := r.xorb.Chunks(t.Start, t.End)
	if err != nil {
		return err
	}
	chunks := make([]Chunk, len(stored))
	var size uint64
	for i, c := range stored {
		chunks[i] = c.Chunk
		size += uint64(c.Size)
		r.tree.add(c.Hash, uint64(c.Size))
	}
	if size != uint64(t.Size) {
		return fmt.Errorf("%d bytes, but its chunks have %d: %w", t.Size, size, ErrRange)
	}
	if t.RangeHash != (Hash{}) && t.RangeHash != RangeHash(chunks) {
		return ErrRangeHash
	}
	r.in.Reset(r.xorb.from(stored[0].Offset))
	r.left = len(stored)
	return nil
}

// prove compares the hashes of the whole file. It returns io.EOF if they are right.
func (r *Reader) prove() error {
	if got := r.tree.file(); got != r.file.Hash {
		return fmt.Errorf("file %s: its chunks have the hash %s: %w", r.file.Hash, got, ErrFileHash)
	}
	if got := Hash(r.sum.Sum(nil)).swap(); got != r.file.SHA256 {
		return fmt.Errorf("file %s: sha256 is %s, announced was %s: %w", r.file.Hash, got, r.file.SHA256, ErrSHA256)
	}
	return io.EOF
}
