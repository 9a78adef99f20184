package gitrepo

import (
	"bufio"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
)

// Objects beyond these bounds make a pack; fewer are written one file each.
const (
	maxLoose      = 48
	maxLooseBytes = 1 << 20
)

// Writer collects new objects and stores them together, so that ten thousand
// files are one sync and not ten thousand. It holds few objects in memory. It is
// not for concurrent use; Flush or Abort ends it.
type Writer struct {
	repo    *Repo
	pending []pendingObject
	bytes   int
	seen    map[Hash]bool
	pack    *packWriter
}

type pendingObject struct {
	kind plumbing.ObjectType
	hash Hash
	data []byte
}

// NewWriter begins a set of objects.
func (r *Repo) NewWriter() *Writer { return &Writer{repo: r, seen: map[Hash]bool{}} }

// Blob adds a file's bytes, which the writer keeps, and gives their id.
func (w *Writer) Blob(data []byte) (Hash, error) { return w.put(plumbing.BlobObject, data) }

func (w *Writer) put(kind plumbing.ObjectType, data []byte) (Hash, error) {
	h := plumbing.ComputeHash(kind, data)
	if w.seen[h] {
		return h, nil
	}
	w.seen[h] = true
	w.pending = append(w.pending, pendingObject{kind, h, data})
	w.bytes += len(data)
	if w.pack == nil && len(w.pending) <= maxLoose && w.bytes <= maxLooseBytes {
		return h, nil
	}
	return h, w.spill()
}

// spill moves pending objects into the pack.
func (w *Writer) spill() error {
	if w.pack == nil {
		pack, err := newPackWriter(w.repo)
		if err != nil {
			return err
		}
		w.pack = pack
	}
	for _, o := range w.pending {
		if err := w.pack.add(o); err != nil {
			return err
		}
	}
	w.pending, w.bytes = nil, 0
	return nil
}

// Flush makes all objects durable and readable.
func (w *Writer) Flush() error {
	if w.pack != nil {
		if err := w.pack.finish(); err != nil {
			return err
		}
		w.pack = nil
		w.repo.generation.Add(1)
	}
	for _, o := range w.pending {
		if err := w.repo.writeLoose(o.kind, o.hash, o.data); err != nil {
			return err
		}
	}
	w.pending = nil
	return nil
}

// Abort removes what was not flushed.
func (w *Writer) Abort() {
	if w.pack != nil {
		w.pack.abort()
		w.pack = nil
	}
	w.pending = nil
}

// packWriter writes a pack of whole objects, without deltas.
type packWriter struct {
	repo  *Repo
	file  *os.File
	out   *bufio.Writer
	at    int64
	count uint32
	index idxfile.Writer
	zip   *zlib.Writer
}

func newPackWriter(r *Repo) (*packWriter, error) {
	if err := r.fault("pack:create"); err != nil {
		return nil, fmt.Errorf("make pack: %w", err)
	}
	f, err := os.CreateTemp(filepath.Join(r.dir, "objects", "pack"), "tmp_pack_*")
	if err != nil {
		return nil, fmt.Errorf("make pack: %w", err)
	}
	p := &packWriter{repo: r, file: f, out: bufio.NewWriterSize(f, 64<<10), zip: zlib.NewWriter(io.Discard), at: 12}
	if _, err := p.out.Write(make([]byte, 12)); err != nil { // the header, known at the end
		p.abort()
		return nil, fmt.Errorf("write pack: %w", err)
	}
	return p, nil
}

// add writes one object: type and size, then the compressed bytes.
func (p *packWriter) add(o pendingObject) error {
	sum := crc32.NewIEEE()
	out := &counter{to: io.MultiWriter(p.out, sum)}
	size := uint64(len(o.data))
	first := byte(o.kind)<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		out.Write([]byte{first | 0x80})
		first = byte(size & 0x7f)
	}
	out.Write([]byte{first})
	p.zip.Reset(out)
	if _, err := p.zip.Write(o.data); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	if err := p.zip.Close(); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	p.index.Add(o.hash, uint64(p.at), sum.Sum32())
	p.at += out.n
	p.count++
	return nil
}

// counter counts what goes through. A failed write fails the next one too,
// because the writer below is buffered.
type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// finish writes header, checksum and index, and gives both files their names:
// the index first, because a reader looks for packs and then for their index.
func (p *packWriter) finish() (err error) {
	defer func() {
		if err != nil {
			p.abort()
		}
	}()
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	header := append([]byte("PACK\x00\x00\x00\x02"), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(header[8:], p.count)
	if _, err := p.file.WriteAt(header, 0); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	sum := sha1.New()
	if _, err := io.Copy(sum, io.NewSectionReader(p.file, 0, p.at)); err != nil {
		return fmt.Errorf("read pack back: %w", err)
	}
	id := Hash(sum.Sum(nil))
	if _, err := p.file.Write(id[:]); err != nil {
		return fmt.Errorf("write pack: %w", err)
	}
	if err := p.repo.fault("pack:sync"); err != nil {
		return fmt.Errorf("sync pack: %w", err)
	}
	if err := errors.Join(p.file.Chmod(0o400), p.file.Sync()); err != nil {
		return fmt.Errorf("sync pack: %w", err)
	}
	if err := p.index.OnFooter(id); err != nil {
		return fmt.Errorf("index pack: %w", err)
	}
	if err := p.repo.installPack(p.file.Name(), id, &p.index); err != nil {
		return err
	}
	return p.file.Close()
}

// installPack writes the index of a synced pack and moves the pack into place.
func (r *Repo) installPack(temp string, id Hash, index *idxfile.Writer) error {
	base := filepath.Join(r.dir, "objects", "pack", "pack-"+id.String())
	table, err := index.Index()
	if err != nil {
		return fmt.Errorf("index pack: %w", err)
	}
	err = r.replace("index", base+".idx", func(w io.Writer) error {
		_, err := idxfile.NewEncoder(w).Encode(table)
		return err
	})
	if err != nil {
		return err
	}
	if err := r.fault("pack:rename"); err != nil {
		return fmt.Errorf("move pack into place: %w", err)
	}
	if err := os.Rename(temp, base+".pack"); err != nil {
		return fmt.Errorf("move pack into place: %w", err)
	}
	return syncDir(filepath.Dir(base))
}

func (p *packWriter) abort() {
	p.file.Close()
	os.Remove(p.file.Name())
}
