package gitrepo

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/objfile"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
)

// Errors that callers branch on.
var (
	ErrRevision = errors.New("no such revision")
	ErrEntry    = errors.New("no such file")
	ErrConflict = errors.New("the ref has moved")
	ErrExists   = errors.New("the ref exists")
	ErrRefName  = errors.New("not a valid name of a ref")
)

// Hash is the id of a git object.
type Hash = plumbing.Hash

// DefaultBranch is the branch that HEAD names in every repository.
const DefaultBranch = "main"

// streamFrom is the size in bytes from which a blob is read as a stream instead
// of as a whole.
const streamFrom = 256 << 10

// Options says how a repository is opened. The zero value is right for a server.
type Options struct {
	// Fault is called before each step of a write, with the step's name; an
	// error ends the write there. Tests pass it; nil is no call.
	Fault func(step string) error
}

// Repo is one bare repository. It is safe for concurrent use; writers of refs
// exclude each other in this process, and no other process may write.
type Repo struct {
	dir   string
	fs    billy.Filesystem
	fault func(string) error
	refs  sync.Mutex
	trees treeCache

	// Handles of go-git are not for concurrent use, so each reader has one for
	// the time of a read. A handle does not see packs that came after it, hence
	// the generation.
	handles    sync.Pool
	generation atomic.Int64
}

type handle struct {
	*filesystem.Storage
	generation int64
}

// Init makes an empty repository in a folder that does not exist yet.
func Init(dir string, opts Options) (*Repo, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("make repository folder: %w", err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "tmp-init-*")
	if err != nil {
		return nil, fmt.Errorf("make repository folder: %w", err)
	}
	defer os.RemoveAll(temp)
	for _, sub := range []string{"objects/info", "objects/pack", "refs/heads", "refs/tags"} {
		if err := os.MkdirAll(filepath.Join(temp, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make repository folder: %w", err)
		}
	}
	r := Open(temp, opts)
	files := map[string]string{
		"HEAD":   "ref: refs/heads/" + DefaultBranch + "\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n",
	}
	for name, text := range files {
		if err := r.writeFile("init", name, []byte(text)); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(temp, dir); err != nil {
		return nil, fmt.Errorf("move new repository into place: %w", err)
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	return Open(dir, opts), nil
}

// Open gives the repository in a folder that Init made.
func Open(dir string, opts Options) *Repo {
	r := &Repo{dir: dir, fs: osfs.New(dir), fault: opts.Fault}
	if r.fault == nil {
		r.fault = func(string) error { return nil }
	}
	return r
}

// Dir is the repository's folder.
func (r *Repo) Dir() string { return r.dir }

// read lends a handle to f.
func (r *Repo) read(f func(st *filesystem.Storage) error) error {
	h, done := r.acquire()
	defer done()
	return f(h.Storage)
}

func (r *Repo) acquire() (*handle, func()) {
	now := r.generation.Load()
	h, _ := r.handles.Get().(*handle)
	if h == nil || h.generation != now {
		h = &handle{generation: now, Storage: filesystem.NewStorageWithOptions(r.fs,
			cache.NewObjectLRU(256*cache.KiByte), filesystem.Options{LargeObjectThreshold: streamFrom})}
	}
	return h, func() { r.handles.Put(h) }
}

// Has tells whether the repository holds an object.
func (r *Repo) Has(h Hash) bool {
	return r.read(func(st *filesystem.Storage) error { return st.HasEncodedObject(h) }) == nil
}

// Blob opens a blob. The reader must be closed.
func (r *Repo) Blob(h Hash) (*Blob, error) {
	hd, done := r.acquire()
	obj, err := hd.EncodedObject(plumbing.BlobObject, h)
	if err != nil {
		done()
		return nil, fmt.Errorf("open blob %s: %w", h, err)
	}
	return &Blob{obj: obj, done: done}, nil
}

// ReadBlob reads a blob whole; it is refused above limit bytes.
func (r *Repo) ReadBlob(h Hash, limit int64) ([]byte, error) {
	b, err := r.Blob(h)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if b.Size() > limit {
		return nil, fmt.Errorf("read blob %s: %d bytes exceed the limit of %d", h, b.Size(), limit)
	}
	data, err := io.ReadAll(b)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", h, err)
	}
	return data, nil
}

// BlobSize gives a blob's size in bytes.
func (r *Repo) BlobSize(h Hash) (size int64, err error) {
	err = r.read(func(st *filesystem.Storage) error {
		size, err = st.EncodedObjectSize(h)
		return err
	})
	return size, err
}

// Blob reads one blob from any place, as http.ServeContent wants it. It keeps
// no more than a decompressor in memory: going back starts the stream again.
type Blob struct {
	obj    plumbing.EncodedObject
	stream io.ReadCloser
	at     int64 // where the stream is
	next   int64 // where the next read begins
	done   func()
}

// Size is the length in bytes.
func (b *Blob) Size() int64 { return b.obj.Size() }

// Read implements io.Reader.
func (b *Blob) Read(p []byte) (int, error) {
	if b.next >= b.obj.Size() {
		return 0, io.EOF
	}
	if b.stream == nil || b.at > b.next {
		b.closeStream()
		stream, err := b.obj.Reader()
		if err != nil {
			return 0, err
		}
		b.stream, b.at = stream, 0
	}
	if b.at < b.next {
		n, err := io.CopyN(io.Discard, b.stream, b.next-b.at)
		b.at += n
		if err != nil {
			return 0, err
		}
	}
	n, err := b.stream.Read(p)
	b.at += int64(n)
	b.next = b.at
	return n, err
}

// Seek implements io.Seeker.
func (b *Blob) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.next
	case io.SeekEnd:
		offset += b.obj.Size()
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of a blob")
	}
	b.next = offset
	return offset, nil
}

// Close lets go of the repository. It may be called more than once.
func (b *Blob) Close() error {
	b.closeStream()
	if b.done != nil {
		b.done()
		b.done = nil
	}
	return nil
}

func (b *Blob) closeStream() {
	if b.stream != nil {
		b.stream.Close()
		b.stream = nil
	}
}

// HashBlob gives the id that git gives to a blob.
func HashBlob(data []byte) Hash { return plumbing.ComputeHash(plumbing.BlobObject, data) }

// writeFile writes a file of the repository under a temporary name, syncs and
// renames it.
func (r *Repo) writeFile(step, name string, data []byte) error {
	path := filepath.Join(r.dir, filepath.FromSlash(name))
	return r.replace(step, path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// writeLoose stores one object in its own file.
func (r *Repo) writeLoose(t plumbing.ObjectType, h Hash, data []byte) error {
	name := h.String()
	path := filepath.Join(r.dir, "objects", name[:2], name[2:])
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return r.replace("object", path, func(w io.Writer) error {
		zw := objfile.NewWriter(w)
		if err := zw.WriteHeader(t, int64(len(data))); err != nil {
			return err
		}
		if _, err := zw.Write(data); err != nil {
			return err
		}
		return zw.Close()
	})
}

// replace makes the file at path by writing, syncing and renaming, with the
// fault hook before each.
func (r *Repo) replace(step, path string, write func(io.Writer) error) (err error) {
	if err := r.fault(step + ":write"); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	_, statErr := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	// At the top, where nothing lists it: among refs it would be taken for one.
	f, err := os.CreateTemp(r.dir, "tmp_*")
	if err != nil {
		return fmt.Errorf("make temporary file: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := r.fault(step + ":sync"); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	if err := r.fault(step + ":rename"); err != nil {
		return fmt.Errorf("rename %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("rename %s: %w", path, err)
	}
	if statErr != nil {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

// syncDir makes renames in a folder durable.
func syncDir(dir string) error {
	if err := atomicfile.SyncDir(dir); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
