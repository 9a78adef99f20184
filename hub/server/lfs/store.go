// Package lfs keeps large files by their sha256 and knows the pointer that stands
// for one in a commit.
//
// A file is written under a temporary name, hashed on the way, compared with the
// hash and size that were announced, synced and renamed: what lies under a hash
// has that hash. Who may read or link a file is not decided here.
package lfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
)

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("no such large file")
	ErrMismatch = errors.New("the bytes are not those announced")
)

// Store is a folder of large files.
type Store struct {
	dir   string
	fault func(string) error
}

// Open gives the store in a folder, which is made when absent. fault is called
// before each step of a write, and its error ends the write; nil is no call.
func Open(dir string, fault func(step string) error) (*Store, error) {
	for _, sub := range []string{"objects", "temp", "parts"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make folder for large files: %w", err)
		}
	}
	if fault == nil {
		fault = func(string) error { return nil }
	}
	return &Store{dir: dir, fault: fault}, nil
}

// Path is where the file of a hash lies, or would lie.
func (s *Store) Path(sha string) string {
	return filepath.Join(s.dir, "objects", sha[:2], sha[2:4], sha)
}

// Size gives a stored file's size in bytes; ErrNotFound when it is not stored.
func (s *Store) Size(sha string) (int64, error) {
	if !IsSHA256(sha) {
		return 0, fmt.Errorf("%w: %q is no sha256", ErrNotFound, sha)
	}
	info, err := os.Stat(s.Path(sha))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %s", ErrNotFound, sha)
	}
	if err != nil {
		return 0, fmt.Errorf("look for large file: %w", err)
	}
	return info.Size(), nil
}

// Open opens a stored file.
func (s *Store) Open(sha string) (*os.File, error) {
	if _, err := s.Size(sha); err != nil {
		return nil, err
	}
	return os.Open(s.Path(sha))
}

// Put stores the bytes of r, which must have this hash and size (a negative size
// is not checked). A file that is stored already is read and compared all the
// same: the caller has to have it.
func (s *Store) Put(ctx context.Context, sha string, size int64, r io.Reader) (err error) {
	if !IsSHA256(sha) {
		return fmt.Errorf("%w: %q is no sha256", ErrMismatch, sha)
	}
	if err := s.fault("lfs:write"); err != nil {
		return fmt.Errorf("write large file: %w", err)
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, "temp"), "put-*")
	if err != nil {
		return fmt.Errorf("write large file: %w", err)
	}
	defer func() {
		f.Close()
		os.Remove(f.Name())
	}()
	if size >= 0 {
		r = io.LimitReader(r, size+1)
	}
	sum := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, sum)}, struct{ io.Reader }{contextReader{ctx, r}}, make([]byte, 256<<10))
	if err != nil {
		return fmt.Errorf("write large file: %w", err)
	}
	if size >= 0 && n != size {
		return fmt.Errorf("%w: %d bytes announced, %d or more came", ErrMismatch, size, n)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != sha {
		return fmt.Errorf("%w: sha256 %s announced, %s came", ErrMismatch, sha, got)
	}
	return s.install(f, sha)
}

// install moves a written file to its name.
func (s *Store) install(f *os.File, sha string) error {
	if err := s.fault("lfs:sync"); err != nil {
		return fmt.Errorf("sync large file: %w", err)
	}
	if err := errors.Join(f.Chmod(0o400), f.Sync()); err != nil {
		return fmt.Errorf("sync large file: %w", err)
	}
	path := s.Path(sha)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder for large file: %w", err)
	}
	if err := s.fault("lfs:rename"); err != nil {
		return fmt.Errorf("rename large file: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("rename large file: %w", err)
	}
	for dir := filepath.Dir(path); len(dir) > len(s.dir); dir = filepath.Dir(dir) {
		if err := atomicfile.SyncDir(dir); err != nil {
			return fmt.Errorf("sync folder %s: %w", dir, err)
		}
	}
	return nil
}

// Check hashes a stored file and tells whether it still is what its name says.
func (s *Store) Check(ctx context.Context, sha string) error {
	f, err := s.Open(sha)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, contextReader{ctx, f}); err != nil {
		return fmt.Errorf("read large file: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != sha {
		return fmt.Errorf("%w: the file %s has the sha256 %s", ErrMismatch, sha, got)
	}
	return nil
}

// Remove deletes a stored file; that it is not there is no error.
func (s *Store) Remove(sha string) error {
	if !IsSHA256(sha) {
		return fmt.Errorf("%w: %q is no sha256", ErrNotFound, sha)
	}
	if err := os.Remove(s.Path(sha)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove large file: %w", err)
	}
	return nil
}

// CleanTemp removes what uploads left that were given up before a time.
func (s *Store) CleanTemp(before time.Time) error {
	for _, sub := range []string{"temp", "parts"} {
		entries, err := os.ReadDir(filepath.Join(s.dir, sub))
		if err != nil {
			return fmt.Errorf("list temporary files: %w", err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || info.ModTime().After(before) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(s.dir, sub, e.Name())); err != nil {
				return fmt.Errorf("remove temporary file: %w", err)
			}
		}
	}
	return nil
}

// Collect calls remove for each file stored before a time, and counts those for which
// it says that it removed them.
func (s *Store) Collect(before time.Time, remove func(sha string) (bool, error)) (count int, err error) {
	err = filepath.WalkDir(filepath.Join(s.dir, "objects"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || !IsSHA256(d.Name()) {
			return err
		}
		info, err := d.Info()
		if err != nil || info.ModTime().After(before) {
			return nil // gone, or too new
		}
		removed, err := remove(d.Name())
		if removed {
			count++
		}
		return err
	})
	if err != nil {
		return count, fmt.Errorf("look through large files: %w", err)
	}
	return count, nil
}

// contextReader ends a copy when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
