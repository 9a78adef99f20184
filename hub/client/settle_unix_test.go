//go:build unix

package client

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestChangedAfterTheCheck: what happens to a file between its check and its name.
func TestChangedAfterTheCheck(t *testing.T) {
	old := time.Now().Add(-time.Hour)
	for name, tc := range map[string]struct {
		change func(string) error
		ok     bool
	}{
		"nothing":        {func(string) error { return nil }, true},
		"the same again": {func(p string) error { return errors.Join(os.Remove(p), os.WriteFile(p, []byte("right"), 0o600)) }, true},
		"other bytes":    {func(p string) error { return os.WriteFile(p, []byte("wrong"), 0o600) }, false},
		"longer":         {func(p string) error { return os.WriteFile(p, []byte("right?"), 0o600) }, false},
		"another, as old": {func(p string) error {
			return errors.Join(os.WriteFile(p+"2", []byte("wrong"), 0o600), os.Chtimes(p+"2", old, old), os.Rename(p+"2", p))
		}, false},
		"a link to the same": {func(p string) error { return errors.Join(os.Rename(p, p+"2"), os.Symlink(filepath.Base(p)+"2", p)) }, false},
		"gone":               {os.Remove, false},
	} {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		must(t, err)
		defer root.Close()
		temp := filepath.Join(dir, "x.incomplete")
		must(t, os.WriteFile(temp, []byte("right"), 0o600), os.Chtimes(temp, old, old))
		checked, err := os.Stat(temp)
		must(t, err, tc.change(temp))
		err = settle(root, "x.incomplete", "x", want{path: "x", etag: gitID([]byte("right")), size: 5}, checked)
		got, _ := os.ReadFile(filepath.Join(dir, "x"))
		if (err == nil) != tc.ok || tc.ok != (string(got) == "right") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestPartsOfOthers: a part that somebody else can still write to is not gone on with,
// and the mode of a file is that of a new one whatever its part had.
func TestPartsOfOthers(t *testing.T) {
	before := syscall.Umask(0o022)
	defer syscall.Umask(before)
	for name, prepare := range map[string]func(part, outside string) error{
		"none":       func(string, string) error { return nil },
		"ours, 0600": func(part, _ string) error { return os.WriteFile(part, []byte("ri"), 0o600) },
		"ours, 0666": func(part, _ string) error {
			return errors.Join(os.WriteFile(part, []byte("ri"), 0o600), os.Chmod(part, 0o666))
		},
		"two names": func(part, outside string) error {
			return errors.Join(os.WriteFile(outside, []byte("ri"), 0o600), os.Link(outside, part))
		},
		"a link": func(part, outside string) error {
			return errors.Join(os.WriteFile(outside, []byte("ri"), 0o600), os.Symlink(outside, part))
		},
		"a link here": func(part, _ string) error {
			return errors.Join(os.WriteFile(part+"2", []byte("ri"), 0o600), os.Symlink(filepath.Base(part)+"2", part))
		},
		"a folder": func(part, _ string) error { return os.Mkdir(part, 0o700) },
		"another user's": func(part, _ string) error {
			if os.Geteuid() != 0 {
				return nil
			}
			return errors.Join(os.WriteFile(part, []byte("ri"), 0o666), os.Chown(part, 12345, 12345))
		},
	} {
		for _, local := range []bool{false, true} {
			h := newFake(t)
			h.put("models/acme/m", map[string]string{"x": "right"})
			c := h.client(nil)
			dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
			id := gitID([]byte("right"))
			part := filepath.Join(c.cache, "models--acme--m", "blobs", id+".incomplete")
			file := filepath.Join(c.cache, "models--acme--m", "blobs", id)
			o := SnapshotOptions{}
			if local {
				part, file, o.LocalDir = filepath.Join(dir, partName("x", id)), filepath.Join(dir, "x"), dir
			}
			must(t, os.MkdirAll(filepath.Dir(part), 0o777), prepare(part, outside))
			_, err := c.Snapshot(t.Context(), repoM, "", o)
			must(t, err)
			info, err := os.Lstat(file)
			must(t, err)
			got, _ := os.ReadFile(file)
			stat := info.Sys().(*syscall.Stat_t)
			if string(got) != "right" || info.Mode() != 0o644 || int(stat.Uid) != os.Geteuid() || stat.Nlink != 1 {
				t.Errorf("%s, folder %t: %q, mode %v, owner %d, %d names", name, local, got, info.Mode(), stat.Uid, stat.Nlink)
			}
			if mine, err := os.ReadFile(outside); err == nil && string(mine) != "ri" {
				t.Errorf("%s, folder %t: a file outside became %q", name, local, mine)
			}
		}
	}
}

// TestModesOfACache: as huggingface_hub leaves them for each umask (scripts/judges/cache.sh
// compares with itself). Locks are a group's, that others of it may take them.
func TestModesOfACache(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	for _, mask := range []int{0o022, 0o002, 0o077} {
		syscall.Umask(mask)
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"d/a": "1", "x.bin": "2"})
		c := h.client(nil)
		if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{}); err != nil {
			t.Fatal(err)
		}
		var wrong bytes.Buffer
		must(t, filepath.WalkDir(c.cache, func(path string, d os.DirEntry, err error) error {
			if err != nil || path == c.cache || d.Type() == os.ModeSymlink {
				return err
			}
			info, err := d.Info()
			want := os.FileMode(0o666 &^ mask)
			switch {
			case d.IsDir():
				want = os.FileMode(0o777 &^ mask)
			case strings.HasSuffix(path, ".lock"):
				want = 0o664
			}
			if info.Mode().Perm() != want {
				fmt.Fprintf(&wrong, "%s has %v, want %v\n", path, info.Mode(), want)
			}
			return err
		}))
		if wrong.Len() > 0 {
			t.Errorf("umask %03o:\n%s", mask, &wrong)
		}
	}
}

// TestTwoDownloadsIntoOneFolder: they share the transfer, as two into the cache do.
func TestTwoDownloadsIntoOneFolder(t *testing.T) {
	h := newFake(t)
	text := random(5, 300_000)
	h.put("models/acme/m", map[string]string{"x.bin": text})
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if isGet("/resolve/")(r) {
			time.Sleep(20 * time.Millisecond)
		}
		return w, false
	}
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		c := h.client(nil)
		wg.Go(func() {
			if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: dir}); err != nil {
				t.Error(err)
			} else if got, _ := os.ReadFile(filepath.Join(dir, "x.bin")); string(got) != text {
				t.Error("what arrived differs")
			}
		})
	}
	wg.Wait()
	if n := h.count("GET", "/resolve/"); n != 1 {
		t.Errorf("%d transfers", n)
	}
}
