package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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

// lock takes the lock of a blob, the same that huggingface_hub takes.
func (s *store) lock(ctx context.Context, etag string, warn func(string)) (unlock func(), err error) {
	f, name, err := s.openLock(etag)
	if err != nil {
		warn(err.Error()) // a cache that others write to; whether we can is seen next
		return nil, nil
	}
	return take(ctx, f, name, s.stale, func() string { return partsOf(s.root, blobsDir, etag) }, warn)
}

// take takes a lock. Nothing relies on it: without it a download only does not resume,
// and is not shared. So it ends without a lock (a nil unlock) where there are none, and
// when its holder makes no progress.
func take(ctx context.Context, f *os.File, name string, stale time.Duration, progress func() string, warn func(string)) (unlock func(), err error) {
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
		if now := progress(); now != seen {
			seen, since = now, time.Now()
		}
		if time.Since(since) > stale {
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
	name := locksDir + "/" + s.repo.folder() + "/" + etag + ".lock"
	f, err := openLock(cache, name)
	return f, name, err
}

// openLock opens a lock, and makes it where there is none. A group that shares a folder
// shares its locks, so a new one gets the mode that huggingface_hub gives it, whatever
// the umask.
func openLock(root *os.Root, name string) (*os.File, error) {
	if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o664)
	if err == nil {
		_ = f.Chmod(0o664) // without it others do without the lock
		return f, nil
	}
	if errors.Is(err, fs.ErrExist) {
		if f, err = root.OpenFile(name, os.O_RDWR, 0); errors.Is(err, fs.ErrPermission) {
			f, err = root.Open(name) // another user's: most file systems lock it for readers too
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the lock %s: %w", name, err)
	}
	return f, nil
}

// partsOf describes how far the downloads are whose parts have names that begin so.
func partsOf(root *os.Root, folder, begin string) string {
	dir, err := root.Open(folder)
	if err != nil {
		return ""
	}
	defer dir.Close()
	entries, _ := dir.ReadDir(-1)
	var b strings.Builder
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), begin) {
			continue
		}
		if info, err := e.Info(); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}
