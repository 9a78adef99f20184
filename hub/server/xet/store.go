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
	"sync"
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
	tempSuffix   = ".tmp"  // still being written
)

// Store keeps xorbs in a folder until a shard asks for them. A scope stands for who
// uploads to where: two plain file names with a slash between, the first for the
// uploader. Xorbs of one scope are not seen in another. The store is a waiting
// room: it does not sync its files, and a xorb that a power cut spoiled counts as
// absent, so that the client sends it again. Only one store may have a folder. Its
// methods may be called from several goroutines.
type Store struct {
	dir   string
	usage usage
	dirs  sync.RWMutex // held for writing while empty folders are removed
	names sync.Mutex   // held while a xorb gets its name
}

// NewStore returns the store in the folder dir, which is made if absent. What
// another process was writing there when it ended is removed; what it had written
// is still there.
func NewStore(dir string, limits Limits) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder for uploads: %w", err)
	}
	s := &Store{dir: dir, usage: usage{limits: limits, users: map[string]Amount{}}}
	err := s.each(func(name, user string, info fs.FileInfo) error {
		if strings.HasSuffix(name, tempSuffix) {
			return os.Remove(name)
		}
		s.usage.users[user] = s.usage.users[user].plus(Amount{info.Size(), 1})
		s.usage.all = s.usage.all.plus(Amount{info.Size(), 1})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at uploads: %w", err)
	}
	return s, nil
}

// each visits all files of the store and says whose they are.
func (s *Store) each(visit func(name, user string, info fs.FileInfo) error) error {
	return filepath.WalkDir(s.dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		below, err := filepath.Rel(s.dir, name)
		if err != nil {
			return err
		}
		return visit(name, userOf(filepath.ToSlash(below)), info)
	})
}

// userOf is the first part of a scope or path.
func userOf(scope string) string {
	user, _, _ := strings.Cut(scope, "/")
	return user
}

// temp makes a file to write a xorb to.
func (s *Store) temp(scope string) (*os.File, error) {
	s.dirs.RLock()
	defer s.dirs.RUnlock()
	dir := filepath.Join(s.dir, filepath.FromSlash(scope))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.CreateTemp(dir, "in-*"+tempSuffix)
}

// Put reads a xorb, checks it as ReadXorb does, and keeps it. It returns false if
// the scope has it already; then nothing is read. It gives ErrUserFull or ErrFull
// where the limits do not allow it.
func (s *Store) Put(scope string, want Hash, src io.Reader) (inserted bool, err error) {
	if s.Has(scope, want) {
		return false, nil
	}
	room := &room{usage: &s.usage, user: userOf(scope)}
	defer room.leave()
	if err := room.enter(); err != nil {
		return false, fmt.Errorf("keep xorb %s: %w", want, err)
	}
	temp, err := s.temp(scope)
	if err != nil {
		return false, fmt.Errorf("keep xorb %s: %w", want, err)
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	defer temp.Close()
	room.file = temp
	out := bufio.NewWriterSize(room, 256<<10)
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
	inserted, err = s.place(temp.Name(), filepath.Join(filepath.Dir(temp.Name()), want.String()+unusedSuffix), room)
	if err != nil {
		return false, fmt.Errorf("keep xorb %s: %w", want, err)
	}
	return inserted, nil
}

// place gives a xorb its name, unless another request has just brought the same. A
// spoiled one is replaced.
func (s *Store) place(temp, name string, r *room) (placed bool, err error) {
	s.names.Lock()
	defer s.names.Unlock()
	if x, err := openFile(name); err == nil {
		return false, x.Close()
	}
	if spoiled, err := os.Stat(name); err == nil {
		s.usage.give(r.user, Amount{spoiled.Size(), 1})
	}
	if err := os.Rename(temp, name); err != nil {
		return false, err
	}
	r.stay()
	return true, nil
}

// room writes a file as far as the limits allow, and gives the place back unless
// the file stays.
type room struct {
	usage *usage
	user  string
	taken Amount
	file  *os.File
}

func (r *room) enter() error { return r.more(Amount{Xorbs: 1}) }

func (r *room) more(a Amount) error {
	if err := r.usage.take(r.user, a); err != nil {
		return err
	}
	r.taken = r.taken.plus(a)
	return nil
}

// Write implements io.Writer.
func (r *room) Write(p []byte) (int, error) {
	if err := r.more(Amount{Bytes: int64(len(p))}); err != nil {
		return 0, err
	}
	return r.file.Write(p)
}

func (r *room) stay() { r.taken = Amount{} }

func (r *room) leave() {
	if r.taken != (Amount{}) {
		r.usage.give(r.user, r.taken)
	}
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
		x, err := openFile(filepath.Join(s.dir, filepath.FromSlash(scope), h.String()+suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open xorb %s: %w", h, err)
		}
		return x, nil
	}
	return nil, fmt.Errorf("open xorb %s: %w", h, ErrNoXorb)
}

func openFile(name string) (*Xorb, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	x, err := openXorb(file)
	if err != nil {
		file.Close() // the first error is the one to tell
		return nil, err
	}
	return x, nil
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
	var faults []error
	err := s.each(func(name, user string, info fs.FileInfo) error {
		before := unused
		if strings.HasSuffix(name, usedSuffix) {
			before = used
		}
		if strings.HasSuffix(name, tempSuffix) || info.ModTime().After(before) {
			return nil
		}
		err := os.Remove(name)
		if err == nil {
			s.usage.give(user, Amount{info.Size(), 1})
		}
		if !errors.Is(err, fs.ErrNotExist) { // it may have become used
			faults = append(faults, err)
		}
		return nil
	})
	if err := errors.Join(append(faults, err, s.prune())...); err != nil {
		return fmt.Errorf("sweep uploads: %w", err)
	}
	return nil
}

// prune removes folders in which nothing is left.
func (s *Store) prune() error {
	s.dirs.Lock()
	defer s.dirs.Unlock()
	for _, pattern := range []string{"*/*", "*"} {
		dirs, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if info, err := os.Lstat(dir); err == nil && info.IsDir() {
				os.Remove(dir) // fails if something is in it, which is right
			}
		}
	}
	return nil
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
