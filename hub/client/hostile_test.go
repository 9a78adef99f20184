package client

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHostileNames(t *testing.T) {
	names := []string{
		"../evil", "a/../../evil", "/etc/evil", `..\evil`, `a\b`, `C:\evil`, "D:x", `\\host\share`, "a\x00b", "a\nb", "", "a//b", "./a", "a/.", "a/..",
		".git/config", "a/.GIT/hooks/x", strings.Repeat("a", 300), "\xff\xfe", strings.Repeat("a/", 600) + "b",
	}
	for _, name := range names {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"a": "1"})
		h.fault = times(1, isGet("/tree/"), func(w http.ResponseWriter, _ *http.Request) {
			data, _ := json.Marshal([]Entry{{Type: "file", Path: name, OID: gitID(nil)}})
			if name == "\xff\xfe" {
				data = []byte(`[{"type":"file","oid":"` + gitID(nil) + `","path":"` + name + `","size":-1}]`)
			}
			_, _ = w.Write(data)
		})
		c := h.client(nil)
		dir := t.TempDir()
		if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: filepath.Join(dir, "in", "ner")}); err == nil {
			t.Errorf("%q was taken", name)
		}
		if _, err := os.Lstat(filepath.Join(dir, "in")); err == nil {
			t.Errorf("%q: something was written", name)
		}
		if _, err := c.Download(t.Context(), repoM, "main", name); err == nil {
			t.Errorf("%q was asked for", name)
		}
		if _, err := c.Upload(t.Context(), repoM, UploadOptions{Files: []File{{Path: name}}}); err == nil {
			t.Errorf("%q was uploaded", name)
		}
		if h.count("GET", "/resolve/")+h.count("HEAD", "")+h.count("POST", "") != 0 {
			t.Errorf("%q: %v", name, h.calls)
		}
	}
}

func TestHostileListings(t *testing.T) {
	id := gitID(nil)
	cases := map[string]string{
		"file and folder": `[{"type":"file","path":"a","oid":"` + id + `"},{"type":"file","path":"a/b","oid":"` + id + `"}]`,
		"twice":           `[{"type":"file","path":"a","oid":"` + id + `"},{"type":"file","path":"a","oid":"` + id + `"}]`,
		"negative size":   `[{"type":"file","path":"a","oid":"` + id + `","size":-1}]`,
		"hash as a path":  `[{"type":"file","path":"a","oid":"../../../x"}]`,
		"LFS as a path":   `[{"type":"file","path":"a","oid":"` + id + `","lfs":{"oid":"../x","size":0}}]`,
		"sizes differ":    `[{"type":"file","path":"a","oid":"` + id + `","size":1,"lfs":{"oid":"` + strings.Repeat("a", 64) + `","size":2}}]`,
		"own notes":       `[{"type":"file","path":".cache/huggingface/download/a.metadata","oid":"` + id + `"}]`,
	}
	for name, body := range cases {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"a": "1"})
		h.fault = times(1, isGet("/tree/"), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		if _, err := h.client(nil).Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: t.TempDir()}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestHostileHeaders(t *testing.T) {
	for _, tc := range []struct{ key, value string }{
		{"X-Repo-Commit", "../../../evil"}, {"X-Repo-Commit", ""}, {"X-Repo-Commit", strings.Repeat("A", 40)},
		{"ETag", `"../../evil"`}, {"ETag", `".."`}, {"ETag", `"a/b"`}, {"ETag", `"x.incomplete"`}, {"ETag", `"` + strings.Repeat("x", 500) + `"`}, {"ETag", ""},
	} {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"a": "1"})
		h.fault = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
			return &headerChanger{w, func(head http.Header) { head.Set(tc.key, tc.value) }}, false
		}
		base := t.TempDir()
		c := h.client(func(cfg *Config) { cfg.Cache = filepath.Join(base, "x", "y", "cache") })
		file, err := c.Download(t.Context(), repoM, "main", "a")
		if tc.key == "ETag" && tc.value != "" {
			if err != nil {
				t.Errorf("%s %s: %v", tc.key, tc.value, err) // an ETag that is no hash cannot be checked, and is kept under its own
			} else if to, _ := os.Readlink(file); filepath.Dir(to) != "../../blobs" || !isHash(filepath.Base(to), 64) {
				t.Errorf("%s: blob %s", tc.value, to)
			}
		} else if err == nil {
			t.Errorf("%s %s: no error", tc.key, tc.value)
		}
		_ = filepath.WalkDir(base, func(name string, d fs.DirEntry, _ error) error {
			if strings.Contains(d.Name(), "evil") || !d.IsDir() && !strings.HasPrefix(name, c.cache) {
				t.Errorf("%s %s: %s was written", tc.key, tc.value, name)
			}
			return nil
		})
	}
}
