package client

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStaleLocks(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1"})
	c := h.client(nil)
	locks := filepath.Join(c.cache, ".locks", "models--acme--m")
	name := filepath.Join(locks, gitID([]byte("1"))+".lock")
	must(t, os.MkdirAll(locks, 0o777), os.WriteFile(name, []byte("99999 somewhere"), 0o600))
	if _, err := c.Download(t.Context(), repoM, "main", "a"); err != nil {
		t.Fatalf("a lock file that nobody holds: %v", err)
	}

	s, err := c.openStore(repoM, false)
	must(t, err)
	defer s.close()
	s.stale = 50 * time.Millisecond
	held, err := os.Open(name)
	must(t, err)
	defer held.Close()
	must(t, syscall.Flock(int(held.Fd()), syscall.LOCK_EX))
	warned := ""
	unlock, err := s.lock(t.Context(), gitID([]byte("1")), func(what string) { warned = what })
	if err != nil || unlock != nil || !strings.Contains(warned, "no progress") {
		t.Errorf("a lock that is held by somebody who does nothing: %v, %q", err, warned)
	}
	s.stale = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.lock(ctx, gitID([]byte("1")), func(string) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting does not end with the context: %v", err)
	}
}

// TestDiskFull fills a small file system; it needs root to mount one.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=300k"); err != nil {
		t.Skipf("no small file system can be mounted: %v", err)
	}
	defer func() { _ = syscall.Unmount(dir, 0) }()
	h := newFake(t)
	text := random(6, 200_000)
	h.put("models/acme/m", map[string]string{"x.bin": text})
	c := h.client(func(cfg *Config) { cfg.Cache = dir })
	filler := filepath.Join(dir, "filler")
	h.fault = times(1, func(r *http.Request) bool {
		if isGet("/resolve/")(r) { // after the space was looked at
			_ = os.WriteFile(filler, make([]byte, 150_000), 0o600)
		}
		return false
	}, nil)
	_, err := c.Download(t.Context(), repoM, "main", "x.bin")
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v", err)
	}
	h.fault = nil
	must(t, os.Remove(filler))
	file, err := c.Download(t.Context(), repoM, "main", "x.bin")
	must(t, err)
	if got, _ := os.ReadFile(file); string(got) != text {
		t.Error("what arrived differs")
	}
}

func TestPruneLeavesARunningDownload(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1"})
	c := h.client(nil)
	if _, err := c.Download(t.Context(), repoM, "main", "a"); err != nil {
		t.Fatal(err)
	}
	s, err := c.openStore(repoM, false)
	must(t, err)
	defer s.close()
	part := filepath.Join(s.dir, "blobs", "abc.incomplete")
	must(t, os.WriteFile(part, []byte("half"), 0o666))
	unlock, err := s.lock(t.Context(), "abc", func(string) {})
	must(t, err)
	plan, err := c.PlanPrune()
	must(t, err, c.Apply(t.Context(), plan))
	if _, err := os.Stat(part); err != nil {
		t.Errorf("the part of a running download is gone: %v", err)
	}
	unlock()
	must(t, c.Apply(t.Context(), plan))
	if _, err := os.Stat(part); err == nil {
		t.Error("the part stayed")
	}
}
