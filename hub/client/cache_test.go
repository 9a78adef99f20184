package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCacheLayout compares with what huggingface_hub 2.4.0 wrote for the same four

// files; scripts/judges/cache.sh compares with the program itself.

func TestCacheLayout(t *testing.T) {
	h := newFake(t)
	commit := h.put("models/acme/m", map[string]string{"README.md": "# x", "w.bin": "123", "a/b/ü#.txt": "u", "empty": ""})
	c := h.client(nil)
	if _, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Snapshot(t.Context(), repoM, "refs/pr/3", SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	sum := "a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3" // printf 123 | sha256sum
	for name, want := range map[string]string{
		"refs/main":                                  commit,
		"refs/refs/pr/3":                             commit,
		"blobs/" + sum:                               "123",
		"snapshots/" + commit + "/README.md":         "../../blobs/121039ccc8a2c80ccd7eca85cca6c7647294f92c",
		"snapshots/" + commit + "/a/b/ü#.txt":        "../../../../blobs/f3c6c3c68af484bd95bc7b7a38276c6c014d6aa3",
		"snapshots/" + commit + "/empty":             "../../blobs/e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
		"snapshots/" + commit + "/w.bin":             "../../blobs/" + sum,
		"../.locks/models--acme--m/" + sum + ".lock": "",
	} {
		full := filepath.Join(c.cache, "models--acme--m", name)
		got, err := os.Readlink(full)
		if err != nil {
			data, readErr := os.ReadFile(full)
			got, err = string(data), readErr
		}
		if err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", name, got, want, err)
		}
	}
	var tree struct {
		Version int `json:"format_version"`
		Files   map[string]map[string]any
	}
	data, _ := os.ReadFile(filepath.Join(c.cache, "models--acme--m", "trees", commit+".json"))
	if err := json.Unmarshal(data, &tree); err != nil || tree.Version != 1 || len(tree.Files) != 4 || tree.Files["w.bin"]["lfs_sha256"] != sum {
		t.Errorf("%v %s", err, data)
	}
	tag, _ := os.ReadFile(filepath.Join(c.cache, "CACHEDIR.TAG"))
	if !strings.HasPrefix(string(tag), "Signature: 8a477f597d28d172789f06886806bc55\n") {
		t.Errorf("%s", tag)
	}
}

func TestAbsentFileIsNoted(t *testing.T) {
	h := newFake(t)
	commit := h.put("models/acme/m", map[string]string{"a": "1"})
	c := h.client(nil)
	if _, err := c.Download(t.Context(), repoM, "main", "no/such"); !errors.Is(err, ErrEntryNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(c.cache, "models--acme--m", ".no_exist", commit, "no", "such")); err != nil || info.Size() != 0 {
		t.Error(err)
	}
	c.offline = true
	if _, err := c.Download(t.Context(), repoM, "main", "no/such"); !errors.Is(err, ErrEntryNotFound) {
		t.Error(err)
	}
}

func TestOffline(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1", "b/c": "2", "d": "3"})
	c := h.client(nil)
	if _, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{Exclude: []string{"b/*"}}); err != nil {
		t.Fatal(err)
	}
	c.offline = true
	h.forget()
	if s, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{Include: []string{"a", "d"}}); err != nil || len(s.Files) != 2 {
		t.Error(err)
	}
	_, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{})
	var incomplete *IncompleteError
	if !errors.As(err, &incomplete) || len(incomplete.Missing) != 1 || incomplete.Missing[0] != "b/c" || !errors.Is(err, ErrOffline) {
		t.Errorf("%v", err)
	}
	if _, err := c.Snapshot(t.Context(), repoM, "v9", SnapshotOptions{}); !errors.Is(err, ErrOffline) || !strings.Contains(err.Error(), "v9") {
		t.Error(err)
	}
	if _, err := c.Snapshot(t.Context(), Repo{ID: "acme/other"}, "", SnapshotOptions{}); !errors.Is(err, ErrOffline) {
		t.Error(err)
	}
	if file, err := c.Download(t.Context(), repoM, "main", "a"); err != nil || filepath.Base(file) != "a" {
		t.Error(err)
	}
	if _, err := c.Download(t.Context(), repoM, "main", "b/c"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := c.Whoami(t.Context()); !errors.Is(err, ErrOffline) {
		t.Error(err)
	}
	if len(h.calls) > 0 {
		t.Errorf("the hub was asked: %v", h.calls)
	}
}

func TestUnreachableHubFallsBackToTheCache(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1", "b": "2"})
	c := h.client(nil)
	if _, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{Include: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	h.srv.Close()
	if _, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{Include: []string{"a"}}); err != nil {
		t.Error(err)
	}
	if _, err := c.Download(t.Context(), repoM, "main", "a"); err != nil {
		t.Error(err)
	}
	var incomplete *IncompleteError
	if _, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{}); !errors.As(err, &incomplete) {
		t.Error(err)
	}
}

func TestDeletedRevisionDoesNotFallBack(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1"})
	c := h.client(nil)
	if _, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	delete(h.repos, "models/acme/m")
	if _, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{}); !errors.Is(err, ErrRepoNotFound) {
		t.Error(err)
	}
}

func TestWithoutSymlinks(t *testing.T) {
	h := newFake(t)
	one := h.put("models/acme/m", map[string]string{"a": "same", "b": "same", "c": "1"})
	c := h.client(func(cfg *Config) { cfg.NoSymlinks = true; cfg.Workers = 1 })
	if _, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "same", "b": "same", "c": "1"} {
		file := filepath.Join(c.cache, "models--acme--m", "snapshots", one, name)
		info, err := os.Lstat(file)
		if err != nil || !info.Mode().IsRegular() {
			t.Fatalf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(file); string(got) != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestResumesAfterKill runs a download in another process, which is killed while

// it writes, and goes on with what it left.

// TestResumesWhatOthersBegan: a part without notes was written in order.

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return data
}

func TestReadOnlyCache(t *testing.T) {
	if os.Geteuid() == 0 {
		// the super-user writes everywhere, so it is asked for a folder that cannot be made
		h := newFake(t)
		h.put("models/acme/m", map[string]string{"a": "1"})
		file := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(file, nil, 0o600))
		c := h.client(func(cfg *Config) { cfg.Cache = filepath.Join(file, "cache") })
		if _, err := c.Download(t.Context(), repoM, "main", "a"); err == nil || !strings.Contains(err.Error(), "make the cache folder") {
			t.Error(err)
		}
		return
	}
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1", "b": "2"})
	c := h.client(nil)
	if _, err := c.Download(t.Context(), repoM, "main", "a"); err != nil {
		t.Fatal(err)
	}
	_ = filepath.WalkDir(c.cache, func(name string, d fs.DirEntry, _ error) error {
		if d.IsDir() {
			must(t, os.Chmod(name, 0o555))
			t.Cleanup(func() { _ = os.Chmod(name, 0o755) })
		}
		return nil
	})
	if _, err := c.Download(t.Context(), repoM, "main", "a"); err != nil {
		t.Errorf("what is there cannot be read: %v", err)
	}
	if _, err := c.Download(t.Context(), repoM, "main", "b"); !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
}

func TestNoRoom(t *testing.T) {
	dir := t.TempDir()
	free, known := freeBytes(dir)
	if !known {
		t.Skip("the free space is not known on this system")
	}
	if err := room(filepath.Join(dir, "not", "yet", "there"), free*2+1<<40); err == nil || !strings.Contains(err.Error(), "nothing was fetched") {
		t.Error(err)
	}
	if err := room(dir, 1); err != nil {
		t.Error(err)
	}
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1"})
	h.fault = times(1, isGet("/tree/"), func(w http.ResponseWriter, _ *http.Request) {
		answer(w, []Entry{{Type: "file", Path: "a", OID: gitID(nil), Size: 1 << 60}})
	})
	if _, err := h.client(nil).Snapshot(t.Context(), repoM, "", SnapshotOptions{}); err == nil || !strings.Contains(err.Error(), "has room for") {
		t.Error(err)
	}
	if n := h.count("GET", "/resolve/"); n > 0 {
		t.Error("something was fetched")
	}
}

// TestLinksInTheFolderLeadNowhere: what a folder holds before does not make a

// download write elsewhere.

func TestDryRunWritesNothing(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1", "b": "2"})
	for _, local := range []bool{true, false} {
		base := t.TempDir()
		c := h.client(func(cfg *Config) { cfg.Cache = filepath.Join(base, "cache") })
		o := SnapshotOptions{DryRun: true}
		if local {
			o.LocalDir = filepath.Join(base, "local")
		}
		s, err := c.Snapshot(t.Context(), repoM, "", o)
		if err != nil || len(s.Files) != 2 || s.Files[0].Cached {
			t.Errorf("%+v %v", s, err)
		}
		if entries, _ := os.ReadDir(base); len(entries) > 0 {
			t.Errorf("something was written: %v", entries)
		}
	}
}

func TestCacheCommands(t *testing.T) {
	h := newFake(t)
	one := h.put("models/acme/m", map[string]string{"a": "same", "b": "old"})
	c := h.client(nil)
	if _, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	two := h.put("models/acme/m", map[string]string{"a": "same", "b": "newer"})
	if _, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{}); err != nil {
		t.Fatal(err)
	}
	repoDir := filepath.Join(c.cache, "models--acme--m")
	must(t, os.WriteFile(filepath.Join(repoDir, "blobs", "abc.incomplete"), make([]byte, 100), 0o666))
	list, err := c.CacheList()
	if err != nil || len(list) != 1 || len(list[0].Revisions) != 2 || list[0].Size != 4+3+5 || list[0].Incomplete != 100 || len(list[0].Faults) != 0 {
		t.Fatalf("%+v %v", list, err)
	}

	check, err := c.CacheVerify(t.Context(), repoM, "", nil)
	if err != nil || check.Files != 3 || len(check.Bad) != 0 {
		t.Errorf("%+v %v", check, err)
	}
	must(t, os.WriteFile(filepath.Join(repoDir, "blobs", gitID([]byte("newer"))), []byte("never"), 0o666))
	check, err = c.CacheVerify(t.Context(), repoM, "main", nil)
	if err != nil || len(check.Bad) != 1 || check.Bad[0].Path != "snapshots/"+two+"/b" {
		t.Errorf("%+v %v", check, err)
	}
	if _, err := c.CacheVerify(t.Context(), repoM, "v9", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}

	plan, err := c.PlanPrune()
	if err != nil || len(plan.Repos) != 1 || fmt.Sprint(plan.Repos[0].Revisions) != "["+one+"]" || plan.Bytes() != 3+100 {
		t.Fatalf("%+v %v", plan, err)
	}
	must(t, c.Apply(t.Context(), plan))
	list, err = c.CacheList()
	if err != nil || len(list[0].Revisions) != 1 || list[0].Incomplete != 0 || len(list[0].Faults) != 0 || list[0].Size != 4+5 {
		t.Errorf("%+v %v", list, err)
	}
	if blobs, _ := os.ReadDir(filepath.Join(repoDir, "blobs")); len(blobs) != 2 {
		t.Errorf("%v", blobs)
	}

	plan, err = c.PlanRemove(repoM, "")
	must(t, err, c.Apply(t.Context(), plan))
	if _, err := os.Stat(repoDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := c.PlanRemove(repoM, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestFaultsOfACache(t *testing.T) {
	h := newFake(t)
	commit := h.put("models/acme/m", map[string]string{"a": "1"})
	c := h.client(nil)
	if _, err := c.Download(t.Context(), repoM, "main", "a"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(c.cache, "models--acme--m")
	must(t, os.Remove(filepath.Join(dir, "blobs", gitID([]byte("1")))),
		os.WriteFile(filepath.Join(dir, "refs", "gone"), []byte(strings.Repeat("b", 40)), 0o666),
		os.WriteFile(filepath.Join(dir, "snapshots", "file"), nil, 0o666),
		os.WriteFile(filepath.Join(c.cache, "models--..--etc"), nil, 0o666))
	list, err := c.CacheList()
	if err != nil || len(list) != 1 || len(list[0].Faults) != 3 {
		t.Fatalf("%+v %v", list, err)
	}
	if _, err := c.Download(t.Context(), repoM, "main", "a"); err != nil {
		t.Errorf("a broken link is not mended: %v", err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "snapshots", commit, "a")); string(got) != "1" {
		t.Errorf("%q", got)
	}
}

// TestLinksInTheCacheLeadNowhere: links that somebody put into a shared cache do not
// lead a download to other files.
func TestLinksInTheCacheLeadNowhere(t *testing.T) {
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"c": "new", "d.bin": "newer"})
	for _, link := range []string{"blobs", "snapshots", "refs"} {
		c := h.client(nil)
		outside, repo := t.TempDir(), filepath.Join(c.cache, "models--acme--m")
		at := filepath.Join(repo, link)
		must(t, os.MkdirAll(filepath.Dir(at), 0o777), os.Symlink(outside, at))
		_, err := c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{})
		entries, readErr := os.ReadDir(outside)
		if must(t, readErr); err == nil || len(entries) > 0 {
			t.Errorf("%s leads out: %v, and there is %v", link, err, entries)
		}
	}
	for _, name := range []string{gitID([]byte("new")), gitID([]byte("new")) + ".incomplete"} {
		c := h.client(nil)
		victim := filepath.Join(t.TempDir(), "victim")
		blobs := filepath.Join(c.cache, "models--acme--m", "blobs")
		must(t, os.WriteFile(victim, []byte("mine"), 0o600), os.MkdirAll(blobs, 0o777), os.Symlink(victim, filepath.Join(blobs, name)))
		_, _ = c.Snapshot(t.Context(), repoM, "main", SnapshotOptions{})
		if got, err := os.ReadFile(victim); err != nil || string(got) != "mine" {
			t.Errorf("%s: the link was followed: %q %v", name, got, err)
		}
	}
}
