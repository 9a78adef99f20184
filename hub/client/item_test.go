package client

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestChangedWhileUploaded: a file that is written to between its hash and its commit
// ends the upload with a sentence, also where the hub takes whatever it gets.
func TestChangedWhileUploaded(t *testing.T) {
	write := func(text string) func(string) error {
		return func(local string) error { return os.WriteFile(local, []byte(text), 0o600) }
	}
	old := time.Now().Add(-time.Hour)
	changes := map[string]func(string) error{
		"longer": write("longer than before"), "shorter": write("b"), "as long": write("bef0re"), "gone": os.Remove,
		"another, as old": func(local string) error {
			return errors.Join(os.WriteFile(local+"2", []byte("bef0re"), 0o600), os.Chtimes(local+"2", old, old), os.Rename(local+"2", local))
		},
	}
	for name, at := range map[string]string{"a.txt": "/paths-info/", "x.bin": "/objects/batch", "y.bin": "PUT /objects/", "parts.bin": "/00002"} {
		for what, change := range changes {
			for _, trusting := range []bool{false, true} {
				h := newFake(t)
				h.put("models/acme/m", map[string]string{"old": "1"})
				h.trusting, h.noOID = trusting, true
				if name == "parts.bin" {
					h.partSize = 2
				}
				local := filepath.Join(t.TempDir(), name)
				must(t, os.WriteFile(local, []byte("before"), 0o600), os.Chtimes(local, old, old))
				var once sync.Once
				h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
					if strings.Contains(r.Method+" "+r.URL.Path, at) {
						once.Do(func() { must(t, change(local)) })
					}
					return w, false
				}
				c := h.client(func(cfg *Config) { cfg.Connections = 1 })
				_, err := c.Upload(t.Context(), repoM, UploadOptions{Files: []File{{Path: name, Local: local}}})
				if err == nil || h.commits("models/acme/m") != 1 {
					t.Errorf("%s, %s, trusting hub %t: %v", name, what, trusting, err)
				} else if what != "gone" && !strings.Contains(err.Error(), "changed while it was uploaded, upload it again") {
					t.Errorf("%s, %s, trusting hub %t: the error does not say what happened: %v", name, what, trusting, err)
				}
			}
		}
	}
}

// TestTouchedWhileUploaded: the same content again is no change.
func TestTouchedWhileUploaded(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"old": "1"})
	local := filepath.Join(t.TempDir(), "x.bin")
	must(t, os.WriteFile(local, []byte("before"), 0o600))
	h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
		if r.Method == http.MethodPut {
			must(t, os.WriteFile(local+"2", []byte("before"), 0o600), os.Rename(local+"2", local))
		}
		return w, false
	}
	if _, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{Files: []File{{Path: "x.bin", Local: local}}}); err != nil {
		t.Error(err)
	}
}

// TestLinkPutIntoTheFolder: between its listing and its upload a file becomes a link to
// something outside.
func TestLinkPutIntoTheFolder(t *testing.T) {
	for _, name := range []string{"a.txt", "x.bin", "d/a.txt"} {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"old": "1"})
		dir, outside := t.TempDir(), t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, "d"), 0o700), os.Mkdir(filepath.Join(outside, "d"), 0o700))
		for _, folder := range []string{dir, outside} {
			must(t, os.WriteFile(filepath.Join(folder, filepath.FromSlash(name)), []byte(filepath.Base(folder)), 0o600))
		}
		files, err := Folder(dir, "", nil, nil)
		must(t, err)
		first, _, _ := strings.Cut(name, "/")
		must(t, os.RemoveAll(filepath.Join(dir, first)), os.Symlink(filepath.Join(outside, first), filepath.Join(dir, first)))
		if _, err := h.client(nil).Upload(t.Context(), repoM, UploadOptions{Files: files}); err == nil || h.commits("models/acme/m") != 1 || len(h.objects) > 0 {
			t.Errorf("%s: what lies outside was uploaded: %v", name, err)
		}
	}
}
