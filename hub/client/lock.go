package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// errNoLocks is the answer of a file system that has no locks.
var errNoLocks = errors.New("the file system has no locks")

// Times of waiting for a lock.
const (
	lockPoll  = 100 * time.Millisecond
	lockStale = time.Minute // its holder shows no progress for so long
)

// lock takes the lock of a blob, the same that huggingface_hub takes. Nothing
// relies on it: without it a download only does not resume, and is not shared. So
// it ends without a lock (a nil unlock) where there are none, and when its holder
// makes no progress.
func (s *store) lock(ctx context.Context, etag string, warn func(string)) (unlock func(), err error) {
	f, name, err := s.openLock(etag)
	if err != nil {
		warn(err.Error()) // a cache that others write to; whether we can is seen next
		return nil, nil
	}
	seen, since := "", time.Now()
	for {
		switch held, err := tryLock(f); {
		case errors.Is(err, errNoLocks):
			_ = f.Close()
			return nil, nil
		case err != nil:
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		case held:
			return func() { _ = f.Close() }, nil // closing lets go
		}
		if now := s.partsOf(etag); now != seen {
			seen, since = now, time.Now()
		}
		if time.Since(since) > s.stale {
			warn(name + " is held by a process that makes no progress")
			_ = f.Close()
			return nil, nil
		}
		if err := sleep(ctx, lockPoll); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
}

// openLock opens the file of a blob's lock.
func (s *store) openLock(etag string) (*os.File, string, error) {
	cache, err := os.OpenRoot(s.cacheDir)
	if err != nil {
		return nil, "", err
	}
	defer cache.Close()
	dir := locksDir + "/" + s.repo.folder()
	if err := cache.MkdirAll(dir, 0o777); err != nil {
		return nil, "", fmt.Errorf("make the folder of locks: %w", err)
	}
	name := dir + "/" + etag + ".lock"
	f, err := cache.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o664)
	if err != nil {
		return nil, "", fmt.Errorf("open the lock %s: %w", name, err)
	}
	return f, name, nil
}

// partsOf describes how far the downloads of a blob are.
func (s *store) partsOf(etag string) string {
	dir, err := s.root.Open(blobsDir)
	if err != nil {
		return ""
	}
	defer dir.Close()
	entries, _ := dir.ReadDir(-1)
	var b strings.Builder
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), etag) {
			continue
		}
		if info, err := e.Info(); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}
