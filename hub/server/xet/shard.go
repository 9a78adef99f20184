package xet

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Limits of one shard. Clients begin another one before.
const (
	MaxShard      = 64 << 20 // bytes
	MaxShardFiles = 64 << 10
)

// Sizes and flags of the shard format (specification, shard.md).
const (
	entrySize     = 48 // of the header and of every entry
	shardVersion  = 2
	footerSize    = 200
	footerVersion = 1

	withRangeHashes = 1 << 31
	withMetadata    = 1 << 30
)

// shardTag begins a shard.
var shardTag = [32]byte{'H', 'F', 'R', 'e', 'p', 'o', 'M', 'e', 't', 'a', 'D', 'a', 't', 'a', 0,
	85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169}

// bookend is the hash of the entry that ends a section.
var bookend = Hash{
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
}

// Term is a run of chunks of one xorb, a piece of a file.
type Term struct {
	Xorb       Hash
	Size       uint32 // bytes
	Start, End uint32 // chunks Start to End-1
	RangeHash  Hash   // zero if the shard has none
}

// File says what a file consists of.
type File struct {
	Hash   Hash
	SHA256 Hash // its String is the usual text; zero if the shard has none
	Terms  []Term
}

// Size is the length of the file in bytes.
func (f File) Size() int64 {
	var size int64
	for _, t := range f.Terms {
		size += int64(t.Size)
	}
	return size
}

// ReadShard reads a shard and returns its files. The chunks that it lists for each
// new xorb must have the hash of that xorb; they are not returned. A shard with
// more than MaxShard bytes is refused.
func ReadShard(src io.Reader) ([]File, error) {
	r := &shardReader{in: bufio.NewReader(io.LimitReader(src, MaxShard+1))}
	footer := r.header()
	files := r.files()
	r.xorbs()
	r.footer(footer)
	if r.err != nil {
		return nil, fmt.Errorf("read shard, byte %d: %w", r.at, r.err)
	}
	return files, nil
}

// shardReader reads the parts of a shard in their order. After the first fault its
// methods do nothing.
type shardReader struct {
	in  *bufio.Reader
	at  int64 // bytes read
	err error
}

// entry reads one entry.
func (r *shardReader) entry() (b [entrySize]byte) {
	if r.err != nil {
		return b
	}
	n, err := io.ReadFull(r.in, b[:])
	r.at += int64(n)
	switch {
	case r.at > MaxShard:
		r.err = fmt.Errorf("more than %d bytes: %w", MaxShard, ErrTooLarge)
	case err != nil:
		r.err = truncated(err)
	}
	return b
}

func (r *shardReader) fault(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// header reads the header and returns the size of the footer.
func (r *shardReader) header() uint64 {
	b := r.entry()
	version, footer := binary.LittleEndian.Uint64(b[32:]), binary.LittleEndian.Uint64(b[40:])
	switch {
	case [32]byte(b[:32]) != shardTag:
		r.fault("it does not begin as a shard: %w", ErrFormat)
	case version != shardVersion:
		r.fault("version %d, want %d: %w", version, shardVersion, ErrFormat)
	case footer != 0 && footer != footerSize:
		r.fault("a footer of %d bytes, want none or %d: %w", footer, footerSize, ErrFormat)
	}
	return footer
}

// files reads the section of files up to its end.
func (r *shardReader) files() []File {
	var files []File
	for r.err == nil {
		b := r.entry()
		f := File{Hash: Hash(b[:32])}
		if r.err != nil || f.Hash == bookend {
			break
		}
		if len(files) == MaxShardFiles {
			r.fault("more than %d files: %w", MaxShardFiles, ErrTooLarge)
			break
		}
		flags, count := binary.LittleEndian.Uint32(b[32:]), binary.LittleEndian.Uint32(b[36:])
		for i := uint32(0); i < count && r.err == nil; i++ {
			f.Terms = append(f.Terms, r.term())
		}
		if flags&withRangeHashes != 0 {
			for i := uint32(0); i < count && r.err == nil; i++ {
				b := r.entry()
				f.Terms[i].RangeHash = Hash(b[:32])
			}
		}
		if flags&withMetadata != 0 {
			b := r.entry()
			f.SHA256 = Hash(b[:32])
		}
		files = append(files, f)
	}
	return files
}

// term reads one term of a file.
func (r *shardReader) term() Term {
	b := r.entry()
	t := Term{
		Xorb:  Hash(b[:32]),
		Size:  binary.LittleEndian.Uint32(b[36:]),
		Start: binary.LittleEndian.Uint32(b[40:]),
		End:   binary.LittleEndian.Uint32(b[44:]),
	}
	if t.Start >= t.End {
		r.fault("a term of the chunks %d to %d: %w", t.Start, t.End, ErrRange)
	}
	return t
}

// xorbs reads the section of xorbs up to its end and checks their hashes.
func (r *shardReader) xorbs() {
	for r.err == nil {
		b := r.entry()
		want := Hash(b[:32])
		if r.err != nil || want == bookend {
			return
		}
		count := binary.LittleEndian.Uint32(b[36:])
		var t tree
		for i := uint32(0); i < count && r.err == nil; i++ {
			b := r.entry()
			t.add(Hash(b[:32]), uint64(binary.LittleEndian.Uint32(b[36:])))
		}
		if got := t.root(); r.err == nil && got != want {
			r.fault("chunks listed for xorb %s have the hash %s: %w", want, got, ErrXorbHash)
		}
	}
}

// footer reads the footer, of which only the version says anything that is not
// known, and checks that nothing follows.
func (r *shardReader) footer(size uint64) {
	if r.err != nil {
		return
	}
	b := make([]byte, size)
	n, err := io.ReadFull(r.in, b)
	r.at += int64(n)
	if err != nil {
		r.err = truncated(err)
		return
	}
	if size > 0 && binary.LittleEndian.Uint64(b) != footerVersion {
		r.fault("footer version %d, want %d: %w", binary.LittleEndian.Uint64(b), footerVersion, ErrFormat)
		return
	}
	if _, err := r.in.ReadByte(); err == nil {
		r.fault("bytes after the end: %w", ErrFormat)
	} else if err != io.EOF {
		r.err = err
	}
}
