package ckpt

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk fills a real, small file system.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("FULL DISK TEST NOT RUN: it mounts a tmpfs, which root may: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	m, err := Open(Config{Dir: dir})
	must(t, err)
	defer m.Close()
	large := func(step int64) Snapshot {
		s := snapshot(step)
		s.Tensors = append(s.Tensors, Tensor{Name: "large", DType: "U8", Shape: []int{600 << 10}, Data: bytes.Repeat([]byte{byte(step)}, 600<<10)})
		return s
	}
	save(t, m, large(1))
	must(t, m.Save(t.Context(), large(2)))
	err = m.Wait()
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), `write tensor "large"`) || !strings.HasSuffix(err.Error(), "no space left on device; checkpoint 1 is intact") {
		t.Errorf("the full disk: %v", err)
	}
	must(t, m.Close())
	m, err = Open(Config{Dir: dir})
	must(t, err)
	s, err := m.Last()
	must(t, err)
	same(t, s, large(1))
	clean(t, dir, m)
	save(t, m, snapshot(2)) // what fits is saved
}
