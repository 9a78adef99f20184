package mirror

import (
	"context"
	"crypto/sha1" // git's hash of a blob
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// FileInfo is what the other Hub says of a file.
type FileInfo struct {
	Commit string // 40 or 64 hexadecimal digits
	Hash   string // sha256 of a large file, else the id of its git blob
	Size   int64
}

var hashPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Info asks for a file; q is an address with /resolve/ or /raw/. The second result
// says whether the token was needed.
func (m *Mirror) Info(ctx context.Context, q Request) (FileInfo, bool, error) {
	resp, private, err := m.ask(ctx, http.MethodHead, q, "")
	if errors.Is(err, ErrUnreachable) {
		var info FileInfo
		if m.load(q, &info) != nil {
			return FileInfo{}, false, err
		}
		return info, false, nil
	}
	if err != nil {
		m.forget(q)
		return FileInfo{}, false, err
	}
	resp.Body.Close()
	info, err := fileInfo(resp.Header)
	if err != nil {
		return FileInfo{}, false, err
	}
	if private {
		m.forget(q)
		return info, true, nil
	}
	return info, false, m.keep(info, q, q.Pinned(info.Commit))
}

// fileInfo reads the headers of a file. They become names of files here, so that
// only hashes will do.
func fileInfo(h http.Header) (FileInfo, error) {
	size := h.Get("X-Linked-Size")
	if size == "" {
		size = h.Get("Content-Length")
	}
	n, err := strconv.ParseInt(size, 10, 64)
	etag := h.Get("X-Linked-Etag")
	if etag == "" {
		etag = h.Get("ETag")
	}
	info := FileInfo{Commit: h.Get("X-Repo-Commit"), Hash: strings.Trim(strings.TrimPrefix(etag, "W/"), `"`), Size: n}
	if err != nil || n < 0 || !hashPattern.MatchString(info.Commit) || !hashPattern.MatchString(info.Hash) {
		return FileInfo{}, fmt.Errorf("the upstream hub describes a file by commit %q, ETag %q and size %q, which cannot be checked",
			info.Commit, etag, size)
	}
	return info, nil
}

// ErrHash means that the other Hub sent other bytes than it announced.
var ErrHash = errors.New("the upstream hub sent a file that does not have its hash")

// File is a file that is kept. It is not removed before it is closed.
type File struct {
	*os.File
	close func() error
}

// Close closes the file.
func (f *File) Close() error { return f.close() }

// Open opens a file that is kept. Call it after Info has allowed the caller to read
// it. A file is hashed when this process opens it for the first time; one that has
// changed on disk is removed, and counts as absent.
func (m *Mirror) Open(info FileInfo) (*File, error) {
	name := fileName(info.Hash)
	it := m.shelf.hold(name)
	if it == nil {
		return nil, os.ErrNotExist
	}
	f, err := os.Open(filepath.Join(m.dir, name))
	if err == nil && !m.shelf.proved(it) {
		if err = prove(f, info); err != nil {
			f.Close()
		}
	}
	if err != nil {
		m.log.Warn("mirror: a file of the cache is spoiled and is fetched again", "hash", info.Hash, "error", err)
		m.shelf.letGo(it)
		m.shelf.drop(name)
		return nil, errors.Join(os.ErrNotExist, err)
	}
	m.shelf.prove(it)
	return &File{f, func() error {
		m.shelf.letGo(it)
		return f.Close()
	}}, nil
}

// prove compares a file with its hash and goes back to its beginning.
func prove(f *os.File, info FileInfo) error {
	sum := hasher(info)
	n, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != info.Size || got != info.Hash {
		return fmt.Errorf("%d bytes of hash %s", n, got)
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// holdBack is how many bytes at the end of a file are passed on only after its hash
// is proved, so that a receiver of wrong bytes sees that they are not complete.
const holdBack = 64 << 10

// Fetch gets a file from the other Hub, writes it to w as it arrives, and keeps it
// unless it is larger than the cache. If the hash is wrong w does not get the last
// bytes, and nothing is kept.
func (m *Mirror) Fetch(ctx context.Context, q Request, info FileInfo, w io.Writer) error {
	defer m.locks.lock(info.Hash)()
	if f, err := m.Open(info); err == nil { // another request has just fetched it
		defer f.Close()
		_, err := io.Copy(w, f)
		return err
	}
	resp, _, err := m.ask(ctx, http.MethodGet, q, "")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	late := &lateWriter{w: w}
	if !m.shelf.promise(info.Size) {
		if err := copyProved(late, resp.Body, info); err != nil {
			return err
		}
		return late.flush()
	}
	defer m.shelf.fulfil(info.Size)
	temp, err := os.CreateTemp(filepath.Join(m.dir, "temp"), "file-*")
	if err != nil {
		return fmt.Errorf("keep file of the upstream hub: %w", err)
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	defer temp.Close()
	if err := copyProved(io.MultiWriter(temp, late), resp.Body, info); err != nil {
		return err
	}
	if err := errors.Join(temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("keep file of the upstream hub: %w", err)
	}
	if err := m.shelf.put(temp.Name(), fileName(info.Hash), info.Size); err != nil {
		return fmt.Errorf("keep file of the upstream hub: %w", err)
	}
	return late.flush()
}

// copyProved copies a file and compares it with its hash.
func copyProved(w io.Writer, src io.Reader, info FileInfo) error {
	sum := hasher(info)
	n, err := io.Copy(io.MultiWriter(sum, w), io.LimitReader(src, info.Size+1))
	if err != nil {
		return fmt.Errorf("fetch file from the upstream hub: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != info.Size || got != info.Hash {
		return fmt.Errorf("%w: %d bytes of hash %s, announced were %d of %s", ErrHash, n, got, info.Size, info.Hash)
	}
	return nil
}

// Range passes a part of a file on without keeping it.
func (m *Mirror) Range(ctx context.Context, q Request, byteRange string) (*http.Response, error) {
	resp, _, err := m.ask(ctx, http.MethodGet, q, byteRange)
	return resp, err
}

// hasher computes the hash that a file is named by.
func hasher(info FileInfo) hash.Hash {
	if len(info.Hash) == 2*sha256.Size {
		return sha256.New()
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", info.Size) // never fails
	return h
}

func fileName(hash string) string { return filepath.Join("files", hash) }

// lateWriter writes all but the last bytes; flush writes these.
type lateWriter struct {
	w    io.Writer
	held []byte
}

func (l *lateWriter) Write(p []byte) (int, error) {
	l.held = append(l.held, p...)
	if ready := len(l.held) - holdBack; ready > 0 {
		if _, err := l.w.Write(l.held[:ready]); err != nil {
			return 0, err
		}
		l.held = append(l.held[:0], l.held[ready:]...)
	}
	return len(p), nil
}

func (l *lateWriter) flush() error {
	_, err := l.w.Write(l.held)
	return err
}
