package lfs

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// PartSize is the length in bytes of each part but the last of an upload in parts.
const PartSize = 64 << 20

// Parts says in how many parts a file of size bytes is sent.
func Parts(size int64) int { return int((size + PartSize - 1) / PartSize) }

// partLen is the length in bytes of a part, counted from 1.
func partLen(size int64, n int) int64 {
	return min(PartSize, size-int64(n-1)*PartSize)
}

// PutPart stores one part, counted from 1, of the upload called id (a plain
// name) of a file of size bytes. Its tag is what the client repeats at the end.
func (s *Store) PutPart(ctx context.Context, id string, size int64, n int, r io.Reader) (tag string, err error) {
	if n < 1 || n > Parts(size) {
		return "", fmt.Errorf("%w: part %d of %d", ErrMismatch, n, Parts(size))
	}
	if err := s.fault("part:write"); err != nil {
		return "", fmt.Errorf("write part: %w", err)
	}
	dir := filepath.Join(s.dir, "parts", id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make folder for parts: %w", err)
	}
	f, err := os.CreateTemp(dir, "tmp-*")
	if err != nil {
		return "", fmt.Errorf("write part: %w", err)
	}
	defer func() {
		f.Close()
		os.Remove(f.Name())
	}()
	sum := md5.New()
	want := partLen(size, n)
	got, err := io.Copy(io.MultiWriter(f, sum), contextReader{ctx, io.LimitReader(r, want+1)})
	if err != nil {
		return "", fmt.Errorf("write part: %w", err)
	}
	if got != want {
		return "", fmt.Errorf("%w: part %d has %d bytes, not %d", ErrMismatch, n, got, want)
	}
	tag = hex.EncodeToString(sum.Sum(nil))
	if err := os.WriteFile(filepath.Join(dir, partName(n)+".tag"), []byte(tag), 0o600); err != nil {
		return "", fmt.Errorf("write part: %w", err)
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, partName(n))); err != nil {
		return "", fmt.Errorf("write part: %w", err)
	}
	return tag, nil
}

// Join puts the parts of an upload together, checks the whole and stores it.
// tags are those of the parts, in order.
func (s *Store) Join(ctx context.Context, id, sha string, size int64, tags []string) error {
	if len(tags) != Parts(size) {
		return fmt.Errorf("%w: %d parts listed, %d expected", ErrMismatch, len(tags), Parts(size))
	}
	dir := filepath.Join(s.dir, "parts", id)
	for i, tag := range tags {
		stored, err := os.ReadFile(filepath.Join(dir, partName(i+1)+".tag"))
		if err != nil || string(stored) != tag {
			return fmt.Errorf("%w: part %d was not sent or is another", ErrMismatch, i+1)
		}
	}
	joined := &partReader{dir: dir, count: len(tags)}
	defer joined.close()
	if err := s.Put(ctx, sha, size, joined); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove parts: %w", err)
	}
	return nil
}

func partName(n int) string { return strconv.Itoa(n) }

// partReader reads parts one after the other, with one file open.
type partReader struct {
	dir         string
	next, count int
	file        *os.File
}

func (p *partReader) Read(b []byte) (int, error) {
	for {
		if p.file == nil {
			if p.next == p.count {
				return 0, io.EOF
			}
			f, err := os.Open(filepath.Join(p.dir, partName(p.next+1)))
			if err != nil {
				return 0, err
			}
			p.file = f
			p.next++
		}
		n, err := p.file.Read(b)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		p.close()
	}
}

func (p *partReader) close() {
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}
