package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/server/gitrepo"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// commitFiles makes a commit on main of files and large files, and gives its id. A
// file without content is deleted.
func (h *pageHub) commitFiles(address string, files, large map[string]string) string {
	h.t.Helper()
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	line := func(key string, value map[string]any) {
		if err := enc.Encode(map[string]any{"key": key, "value": value}); err != nil {
			h.t.Fatal(err)
		}
	}
	line("header", map[string]any{"summary": "a commit"})
	for path, text := range files {
		if text == "" {
			line("deletedFile", map[string]any{"path": path})
		} else {
			line("file", map[string]any{"path": path, "content": text, "encoding": "utf-8"})
		}
	}
	for path, text := range large {
		line("lfsFile", map[string]any{"path": path, "oid": sha256Hex([]byte(text))})
	}
	w := h.do(h.alice, "POST", "/api/models/alice/"+address, body.Bytes())
	var answer struct{ CommitOid string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		h.t.Errorf("commit to %s: %d %s", address, w.Code, w.Body)
	}
	return answer.CommitOid
}

// send puts a large file into a repo of alice's.
func (h *pageHub) send(name, text string) {
	h.t.Helper()
	r, err := h.s.db.Repo(meta.Model, "alice", name)
	if err == nil {
		err = h.s.PutLFS(h.t.Context(), r.ID, sha256Hex([]byte(text)), int64(len(text)), strings.NewReader(text))
	}
	if err != nil {
		h.t.Error(err)
	}
}

func (h *pageHub) clean() {
	h.t.Helper()
	if faults, err := h.s.Fsck(h.t.Context(), true); err != nil || len(faults) > 0 {
		h.t.Errorf("faults: %v %v", faults, err)
	}
}

// TestCollect: what a squash and a deleted branch leave goes, all that refs reach
// stays, and large files that are not named yet stay for a while.
func TestCollect(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, nil)
	h.repo("n", false, nil)
	for _, text := range []string{"kept", "squashed", "shared", "tagged", "not committed"} {
		h.send("m", text)
	}
	h.send("n", "shared")
	h.commitFiles("n/commit/main", nil, map[string]string{"l": "shared"})
	many := map[string]string{"stays": "stays"}
	for i := range 60 {
		many[fmt.Sprint("f", i)] = fmt.Sprint("content ", i)
	}
	h.commitFiles("m/commit/main", many, map[string]string{"l": "tagged"}) // a pack
	h.must(200, h.alice, "POST", "/api/models/alice/m/tag/main", []byte(`{"tag":"v1","message":"words"}`))
	old := h.commitFiles("m/commit/main", map[string]string{"old": "old text"}, map[string]string{"l": "squashed", "s": "shared"})
	h.commitFiles("m/commit/main", map[string]string{"f0": "", "old": ""}, map[string]string{"l": "kept"})
	h.commitFiles("m/commit/main?create_pr=1", map[string]string{"proposed": "proposal"}, nil)
	h.must(200, h.alice, "POST", "/api/models/alice/m/branch/side", []byte(`{}`))
	side := h.commitFiles("m/commit/side", map[string]string{"side": "side text"}, nil)
	if done, err := h.s.Collect(t.Context()); err != nil || done != (Collected{}) {
		t.Errorf("with nothing to remove: %v %v", done, err)
	}
	h.must(200, h.alice, "POST", "/api/models/alice/m/super-squash/main", nil)
	h.must(200, h.alice, "DELETE", "/api/models/alice/m/branch/side", nil)
	h.must(200, "", "GET", "/alice/m/raw/"+side+"/side", nil)
	done, err := h.s.Collect(t.Context())
	if err != nil || done.Objects == 0 || done.Files != 0 {
		t.Errorf("removed %v, %v", done, err)
	}
	// The pull request keeps the history that it began from, and its large files.
	h.must(404, "", "GET", "/alice/m/raw/"+side+"/side", nil)
	h.must(200, "", "GET", "/alice/m/raw/"+old+"/old", nil)
	h.must(200, "", "GET", "/alice/m/raw/v1/f0", nil)
	h.must(200, "", "GET", "/alice/m/raw/main/stays", nil)
	h.clean()
}

// TestCollectLargeFiles: large files that only removed commits named go with them,
// if no other repo holds them and nobody is about to name them.
func TestCollectLargeFiles(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, nil)
	h.repo("n", false, nil)
	stored := func(text string) bool { _, err := h.s.lfs.Size(sha256Hex([]byte(text))); return err == nil }
	for _, text := range []string{"kept", "squashed", "shared", "tagged", "not committed"} {
		h.send("m", text)
	}
	h.send("n", "shared")
	h.commitFiles("n/commit/main", nil, map[string]string{"l": "shared"})
	h.commitFiles("m/commit/main", nil, map[string]string{"l": "tagged"})
	h.must(200, h.alice, "POST", "/api/models/alice/m/tag/main", []byte(`{"tag":"v1","message":"words"}`))
	h.commitFiles("m/commit/main", nil, map[string]string{"l": "squashed", "s": "shared"})
	h.commitFiles("m/commit/main", map[string]string{"s": ""}, map[string]string{"l": "kept"})
	h.must(200, h.alice, "POST", "/api/models/alice/m/super-squash/main", nil)
	if err := h.s.lfs.Put(t.Context(), sha256Hex([]byte("linked by none")), -1, strings.NewReader("linked by none")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		before time.Time
		files  int
		left   []string
		gone   []string
	}{
		{time.Now().Add(-leftoverAge), 0, []string{"kept", "squashed", "shared", "tagged", "not committed", "linked by none"}, nil},
		{time.Now().Add(time.Hour), 3, []string{"kept", "shared", "tagged"}, []string{"squashed", "not committed", "linked by none"}},
		{time.Now().Add(time.Hour), 0, []string{"kept", "shared", "tagged"}, nil},
	} {
		done, err := h.s.collect(t.Context(), c.before)
		if err != nil || done.Files != c.files {
			t.Errorf("removed %v, %v; want %d", done, err, c.files)
		}
		for _, text := range c.left {
			if !stored(text) {
				t.Errorf("%q is gone", text)
			}
		}
		for _, text := range c.gone {
			if stored(text) {
				t.Errorf("%q is still there", text)
			}
		}
		h.clean()
	}
	m, err := h.s.db.Repo(meta.Model, "alice", "m")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.s.HasLFS(m.ID, sha256Hex([]byte("shared"))); err == nil {
		t.Error("a repo holds what only its squashed history named")
	}
	h.send("m", "squashed") // it may come again
	h.commitFiles("m/commit/main", nil, map[string]string{"l": "squashed"})
	h.clean()
}

// TestCollectLeftovers: folders of no repo and of killed pushes go when they are old.
func TestCollectLeftovers(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, nil)
	m, err := h.s.db.Repo(meta.Model, "alice", "m")
	if err != nil {
		t.Fatal(err)
	}
	left := []string{"git/ab/abcdef.git", "git/ab/tmp-init-1", "git/" + m.ID[:2] + "/" + m.ID + ".git/tmp-push-1", "git/" + m.ID[:2] + "/" + m.ID + ".git/tmp_1"}
	for _, folder := range left {
		if err := os.MkdirAll(filepath.Join(h.s.cfg.Dir, folder, "objects"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		before time.Time
		there  bool
	}{{time.Now().Add(-leftoverAge), true}, {time.Now().Add(time.Hour), false}} {
		if _, err := h.s.collect(t.Context(), c.before); err != nil {
			t.Error(err)
		}
		for _, folder := range left {
			if _, err := os.Stat(filepath.Join(h.s.cfg.Dir, folder)); (err == nil) != c.there {
				t.Errorf("%s: %v", folder, err)
			}
		}
	}
	h.clean()
}

// TestCollectWhileWriting: a collection takes nothing from who writes meanwhile.
func TestCollectWhileWriting(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, nil)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for removed := 0; ; {
			done, err := h.s.Collect(t.Context())
			if removed += done.Objects; err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
				if removed == 0 {
					t.Error("nothing was removed")
				}
				return
			default:
			}
		}
	})
	for i := range 15 {
		text := fmt.Sprint("large ", i)
		h.send("m", text)
		h.commitFiles("m/commit/main", map[string]string{fmt.Sprint("f", i): text}, map[string]string{"l": text})
		h.must(200, h.alice, "POST", "/api/models/alice/m/super-squash/main", nil)
		h.must(200, h.alice, "POST", "/api/models/alice/m/branch/b", []byte(`{"overwrite":true}`))
	}
	close(stop)
	wg.Wait()
	h.clean()
	for i := range 15 {
		h.must(200, "", "GET", fmt.Sprint("/alice/m/raw/b/f", i), nil)
	}
}

// TestCollectGoesOn: a collection that was killed is ended when the folder is opened,
// before anybody can name what is left.
func TestCollectGoesOn(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, nil)
	h.commitFiles("m/commit/main", map[string]string{"f": "text"}, nil)
	h.must(200, h.alice, "POST", "/api/models/alice/m/super-squash/main", nil)
	m, err := h.s.db.Repo(meta.Model, "alice", "m")
	if err != nil {
		t.Fatal(err)
	}
	fault := errors.New("killed")
	removed := 0
	g := gitrepo.Open(h.s.gitDir(m.ID), gitrepo.Options{Fault: func(step string) error {
		if step == "gone:remove" {
			if removed++; removed == 2 {
				return fault
			}
		}
		return nil
	}})
	found := reach{map[gitrepo.Hash]bool{}, map[string]bool{}}
	if err := found.find(g); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Collect(found.objects); !errors.Is(err, fault) {
		t.Fatalf("collection: %v", err)
	}
	left := func() int {
		files, err := filepath.Glob(filepath.Join(h.s.gitDir(m.ID), "objects", "??", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	before := left()
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	if h.s, err = New(Config{Dir: h.s.cfg.Dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.s.Close() })
	if after := left(); after >= before || after != len(found.objects) {
		t.Errorf("%d objects, then %d; %d are reachable", before, after, len(found.objects))
	}
	h.clean()
}

// TestHoldAll: a commit that names a large file which was removed since it was looked
// at is refused.
func TestHoldAll(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, nil)
	h.send("m", "large")
	m, err := h.s.db.Repo(meta.Model, "alice", "m")
	if err != nil {
		t.Fatal(err)
	}
	infos := map[string]meta.BlobInfo{"a": {Size: 5, SHA: sha256Hex([]byte("large"))}, "b": {Size: 3}}
	if err := h.s.holdAll(m.ID, infos); err != nil {
		t.Error(err)
	}
	if _, err := h.s.collect(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if err := h.s.holdAll(m.ID, infos); !errors.As(err, &e) || e.Status != 422 {
		t.Errorf("after the removal: %v", err)
	}
}
