package client

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLocalDir(t *testing.T) {
	h := newFake(t)
	commit := h.put("models/acme/m", map[string]string{"a/b.txt": "one", "x.bin": "two", "c": "3"})
	c := h.client(nil)
	dir := filepath.Join(t.TempDir(), "new", "folder")
	must(t, os.MkdirAll(dir, 0o777), os.WriteFile(filepath.Join(dir, "x.bin"), []byte("two"), 0o666))
	s, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: dir})
	must(t, err)
	if s.Dir != dir || h.count("GET", "x.bin") != 0 {
		t.Errorf("a file with the content wanted was fetched: %v", h.calls)
	}
	notes, err := os.ReadFile(filepath.Join(dir, ".cache", "huggingface", "download", "a", "b.txt.metadata"))
	lines := strings.Split(string(notes), "\n")
	if err != nil || len(lines) != 4 || lines[0] != commit || lines[1] != gitID([]byte("one")) {
		t.Errorf("%q %v", notes, err)
	}
	if ignore, _ := os.ReadFile(filepath.Join(dir, ".cache", "huggingface", ".gitignore")); string(ignore) != "*" {
		t.Errorf("%q", ignore)
	}
	h.forget()
	if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: dir}); err != nil || h.count("GET", "/resolve/") != 0 {
		t.Errorf("%v %v", err, h.calls)
	}
	later := time.Now().Add(time.Hour)
	must(t, os.WriteFile(filepath.Join(dir, "c"), []byte("4"), 0o666), os.Chtimes(filepath.Join(dir, "c"), later, later))
	if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: dir}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "c")); string(got) != "3" {
		t.Errorf("a changed file stayed: %q", got)
	}
}

func TestLinksInTheFolderLeadNowhere(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a/b": "new", "c": "new"})
	c := h.client(nil)
	dir, outside := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "c")
	must(t, os.WriteFile(victim, []byte("mine"), 0o600), os.Symlink(victim, filepath.Join(dir, "c")), os.Symlink(outside, filepath.Join(dir, "a")))
	if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: dir}); err == nil {
		t.Error("a folder that leads out was written to")
	}
	if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: dir, Include: []string{"c"}}); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(victim); string(got) != "mine" {
		t.Errorf("the link was followed: %q", got)
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("%v", entries)
	}
}

func TestPartsOfAFolderHaveThePythonName(t *testing.T) {
	// base64url of sha1, as in huggingface_hub's local folder
	sum := sha1.Sum([]byte("x.bin.metadata"))
	want := base64.URLEncoding.EncodeToString(sum[:]) + "." + hex.EncodeToString(make([]byte, 32)) + ".incomplete"
	if got := partName("a/x.bin", strings.Repeat("0", 64)); got != metaDir+"/download/a/"+want {
		t.Errorf("%s, want %s", got, want)
	}
}
