package xet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A stored xorb is its chunks as they came, then one index entry for each chunk
// (hash, offset, raw size), then the number of chunks and a magic number.
const (
	indexEntrySize = 40
	trailerSize    = 8
	trailerMagic   = 0x6d657358

	unusedSuffix = ".xorb" // no shard has asked for it
	usedSuffix   = ".used" // a file was made of it
	tempPattern  = "in-*.tmp"
)

// Store keeps xorbs in a folder until a shard asks for them. A scope is a name
// that stands for who uploads to where; xorbs of one scope are not seen in
// another. The store is a waiting room: it does not sync its files, and a xorb
// that a power cut spoiled counts as absent, so that the client sends it again.
// Its methods may be called from several goroutines.
type Store struct{ dir string }

// NewStore returns the store in the folder dir, which is made if absent.
func NewStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for uploads: %w", err)
	}
	return &Store{dir}, nil
}

// Put reads a xorb, checks it as ReadXorb does, and keeps it. It returns false if
// the scope has it already; then nothing is read. scope must be a plain file name.
func (s *Store) Put(scope string, want Hash, src io.Reader) (inserted bool, err error) {
	if s.Has(scope, want) {
		return false, nil
	}
	dir := filepath.Join(s.dir, scope)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("keep xorb %s: %w", want, err)
	}
	temp, err := os.CreateTemp(dir, tempPattern)
	if err != nil {
		return false, fmt.Errorf("keep xorb %s: %w", want, err)
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	defer temp.Close()
	out := bufio.NewWriterSize(temp, 256<<10)
	chunks, err := ReadXorb(src, want, out)
	if err != nil {
		return false, err
	}
	if err := writeIndex(out, chunks); err != nil {
		return false, fmt.Errorf("keep xorb %s: %w", want, err)
	}
	if err := temp.Close(); err != nil {
		return false, fmt.Errorf("keep xorb %s: %w", want, err)
	}
	if err := os.Rename(temp.Name(), filepath.Join(dir, want.String()+unusedSuffix)); err != nil {
		return false, fmt.Errorf("keep xorb %s: %w", want, err)
	}
	return true, nil
}

// writeIndex writes what follows the chunks of a stored xorb, and flushes.
func writeIndex(out *bufio.Writer, chunks []StoredChunk) error {
	for _, c := range chunks {
		out.Write(c.Hash[:]) // an error stays with the writer and comes from Flush
		out.Write(binary.LittleEndian.AppendUint32(nil, c.Offset))
		out.Write(binary.LittleEndian.AppendUint32(nil, c.Size))
	}
	out.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(chunks))))
	out.Write(binary.LittleEndian.AppendUint32(nil, trailerMagic))
	return out.Flush()
}

// Has says whether the scope has a xorb.
func (s *Store) Has(scope string, h Hash) bool {
	x, err := s.Open(scope, h)
	if err != nil {
		return false
	}
	return x.Close() == nil
}

// Open opens a xorb for reading. A xorb that is not there, or not whole, gives
// ErrNoXorb.
func (s *Store) Open(scope string, h Hash) (*Xorb, error) {
	for _, suffix := range []string{unusedSuffix, usedSuffix, usedSuffix} { // it may become used between two looks
		file, err := os.Open(filepath.Join(s.dir, scope, h.String()+suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open xorb %s: %w", h, err)
		}
		x, err := openXorb(file)
		if err != nil {
			file.Close() // the first error is the one to tell
			return nil, fmt.Errorf("open xorb %s: %w", h, err)
		}
		return x, nil
	}
	return nil, fmt.Errorf("open xorb %s: %w", h, ErrNoXorb)
}

// Used notes that a file was made of these xorbs. They are swept earlier than those
// that still wait for their shard.
func (s *Store) Used(scope string, hashes []Hash) error {
	now := time.Now()
	for _, h := range hashes {
		unused := filepath.Join(s.dir, scope, h.String()+unusedSuffix)
		used := filepath.Join(s.dir, scope, h.String()+usedSuffix)
		err := os.Rename(unused, used)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = os.Chtimes(used, now, now)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mark xorb %s as used: %w", h, err)
		}
	}
	return nil
}

// Sweep removes xorbs that wait since before unused, and xorbs that were last used
// before used.
func (s *Store) Sweep(unused, used time.Time) error {
	scopes, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("sweep uploads: %w", err)
	}
	var faults []error
	for _, scope := range scopes {
		faults = append(faults, sweepScope(filepath.Join(s.dir, scope.Name()), unused, used))
	}
	return errors.Join(faults...)
}

// sweepScope sweeps one folder and removes it if nothing is left.
func sweepScope(dir string, unused, used time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweep uploads: %w", err)
	}
	left := len(entries)
	var faults []error
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			left--
			continue
		}
		before := unused
		if strings.HasSuffix(e.Name(), usedSuffix) {
			before = used
		}
		if err == nil && info.ModTime().After(before) {
			continue
		}
		if err == nil {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err == nil {
			left--
		}
		faults = append(faults, err)
	}
	if left == 0 {
		os.Remove(dir) // fails if an upload has just begun, which is right
	}
	return errors.Join(faults...)
}

// Xorb is a stored xorb, open for reading.
type Xorb struct {
	file  *os.File
	count uint32
	index int64 // where the index begins
}

// openXorb reads the trailer of a stored xorb.
func openXorb(file *os.File) (*Xorb, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	var trailer [trailerSize]byte
	end := info.Size() - trailerSize
	if end < 0 {
		return nil, ErrNoXorb
	}
	if _, err := file.ReadAt(trailer[:], end); err != nil {
		return nil, err
	}
	count := binary.LittleEndian.Uint32(trailer[:])
	index := end - int64(count)*indexEntrySize
	if binary.LittleEndian.Uint32(trailer[4:]) != trailerMagic || index < 0 {
		return nil, ErrNoXorb
	}
	return &Xorb{file, count, index}, nil
}

// Close closes the file.
func (x *Xorb) Close() error { return x.file.Close() }

// Chunks returns the chunks start to end-1. A range that the xorb does not have
// gives ErrRange.
func (x *Xorb) Chunks(start, end uint32) ([]StoredChunk, error) {
	if start >= end || end > x.count {
		return nil, fmt.Errorf("chunks %d to %d of %d: %w", start, end, x.count, ErrRange)
	}
	raw := make([]byte, int(end-start)*indexEntrySize)
	if _, err := x.file.ReadAt(raw, x.index+int64(start)*indexEntrySize); err != nil {
		return nil, fmt.Errorf("read index of xorb: %w", err)
	}
	chunks := make([]StoredChunk, end-start)
	for i := range chunks {
		b := raw[i*indexEntrySize:]
		chunks[i] = StoredChunk{
			Chunk:  Chunk{Hash(b[:32]), binary.LittleEndian.Uint32(b[36:])},
			Offset: binary.LittleEndian.Uint32(b[32:]),
		}
	}
	return chunks, nil
}

// from returns a reader of the serialized chunks from offset on.
func (x *Xorb) from(offset uint32) io.Reader {
	return io.NewSectionReader(x.file, int64(offset), x.index-int64(offset))
}
