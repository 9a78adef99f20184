package mirror

import (
	"context"
	"crypto/sha1" // git's hash of a blob
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
)

// ErrHash means that the other Hub sent other bytes than it announced.
var ErrHash = errors.New("the upstream hub sent a file that does not have its hash")

// Open opens a file that is kept. Call it after Info has allowed the caller to read
// it.
func (m *Mirror) Open(info FileInfo) (*os.File, error) {
	f, err := os.Open(m.file(info.Hash))
	if err != nil {
		return nil, err
	}
	if stat, err := f.Stat(); err != nil || stat.Size() != info.Size {
		return nil, errors.Join(err, f.Close(), os.ErrNotExist)
	}
	return f, nil
}

// holdBack is how many bytes at the end of a file are passed on only after its hash
// is proved, so that a receiver of wrong bytes sees that they are not complete.
const holdBack = 64 << 10

// Fetch gets a file from the other Hub, writes it to w as it arrives, and keeps it.
// If the hash is wrong w does not get the last bytes, and nothing is kept.
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
	temp, err := os.CreateTemp(filepath.Join(m.dir, "temp"), "file-*")
	if err != nil {
		return fmt.Errorf("keep file of the upstream hub: %w", err)
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	defer temp.Close()
	sum := hasher(info)
	late := &lateWriter{w: w}
	n, err := io.Copy(io.MultiWriter(temp, sum, late), io.LimitReader(resp.Body, info.Size+1))
	if err != nil {
		return fmt.Errorf("fetch file from the upstream hub: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != info.Size || got != info.Hash {
		return fmt.Errorf("%w: %d bytes of hash %s, announced were %d of %s", ErrHash, n, got, info.Size, info.Hash)
	}
	if err := errors.Join(temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("keep file of the upstream hub: %w", err)
	}
	if err := os.Rename(temp.Name(), m.file(info.Hash)); err != nil {
		return fmt.Errorf("keep file of the upstream hub: %w", err)
	}
	return late.flush()
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

func (m *Mirror) file(hash string) string { return filepath.Join(m.dir, "files", hash) }

// record is where the answer to a request is kept.
func (m *Mirror) record(q Request) string {
	sum := sha256.Sum256([]byte(q.Path + "?" + q.Query))
	return filepath.Join(m.dir, "answers", hex.EncodeToString(sum[:])+".json")
}

// keep writes a record, whole or not at all.
func (m *Mirror) keep(name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("keep answer of the upstream hub: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Join(m.dir, "temp"), "answer-*")
	if err != nil {
		return fmt.Errorf("keep answer of the upstream hub: %w", err)
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("keep answer of the upstream hub: %w", err)
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return fmt.Errorf("keep answer of the upstream hub: %w", err)
	}
	return nil
}

// forget removes a record.
func (m *Mirror) forget(name string) {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		m.log.Warn("forget answer of the upstream hub", "error", err)
	}
}

// locks are mutexes by name, which exist while somebody holds or waits for them.
type locks struct {
	mu   sync.Mutex
	held map[string]*held
}

type held struct {
	sync.Mutex
	users int
}

// lock waits for a name and returns what lets go of it.
func (l *locks) lock(name string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*held{}
	}
	h := l.held[name]
	if h == nil {
		h = &held{}
		l.held[name] = h
	}
	h.users++
	l.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(l.held, name)
		}
	}
}
