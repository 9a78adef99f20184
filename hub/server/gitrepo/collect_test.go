package gitrepo

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestCollect lets a collection break off at each of its writes: what refs reach is
// whole, of the rest all or nothing is there once FinishCollect is through, and git
// finds nothing unreachable when the collection has been done.
func TestCollect(t *testing.T) {
	broken := errors.New("broken off")
	for failAt, done := 1, false; !done; failAt++ {
		count := 0
		r, err := Init(filepath.Join(t.TempDir(), "r.git"), Options{Fault: func(string) error {
			if count++; count == failAt {
				return broken
			}
			return nil
		}})
		if err != nil && failAt > 100 {
			t.Fatal(err)
		}
		count = -1 << 30 // no faults yet
		if err != nil {
			continue // in Init
		}
		garbage := messy(t, r)
		keep := reachable(t, r)
		count = 0
		_, err = r.Collect(keep)
		done = err == nil
		if err != nil && !errors.Is(err, broken) {
			t.Fatal(err)
		}
		count = -1 << 30
		if err := r.FinishCollect(); err != nil {
			t.Fatal(err)
		}
		there := 0
		for _, h := range garbage {
			if r.Has(h) {
				there++
			}
		}
		if there != 0 && (done || there != len(garbage)) {
			t.Errorf("broken off at %d: %d of %d unreachable objects are there", failAt, there, len(garbage))
		}
		reachable(t, r)
		if !done {
			continue
		}
		if failAt < 8 {
			t.Errorf("only %d writes", failAt)
		}
		if out := git(t, r.Dir(), "fsck", "--full", "--strict", "--unreachable"); strings.Contains(out, "unreachable") {
			t.Errorf("git finds %s", out)
		}
		if n, err := r.Collect(reachable(t, r)); n != 0 || err != nil {
			t.Errorf("a second time: %d %v", n, err)
		}
		commit(t, r, map[string]string{"more": "text"})
	}
}

// messy makes a repository with loose objects and packs, and gives objects that no
// ref reaches any more, some beside others in a pack.
func messy(t *testing.T, r *Repo) (garbage []Hash) {
	t.Helper()
	many := map[string]string{}
	for i := range 60 {
		many[fmt.Sprintf("d%d/f%d", i%3, i)] = fmt.Sprint("kept or not ", i)
	}
	first := commit(t, r, many)
	old := commit(t, r, map[string]string{"d0/f0": "", "new": "loose"})
	head := commit(t, r, map[string]string{"new": "", "last": "x"})
	for _, of := range []struct {
		commit Hash
		path   string
	}{{first, "d0/f0"}, {first, "d0"}, {first, ""}, {old, "new"}, {old, ""}} {
		e, err := r.Entry(of.commit, of.path)
		if err != nil {
			t.Fatal(err)
		}
		garbage = append(garbage, e.Hash)
	}
	w := r.NewWriter()
	c, err := r.Commit(head)
	if err != nil {
		t.Fatal(err)
	}
	squashed, err := r.NewCommit(w, c.Tree, nil, Author{Name: "T"}, "squashed")
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = r.SetRef("refs/heads/main", head, squashed)
	}
	if err == nil {
		var tag Hash
		w := r.NewWriter()
		if tag, err = r.NewTag(w, "v1", squashed, Author{Name: "T"}, "words\n"); err == nil {
			err = errors.Join(w.Flush(), r.SetRef("refs/tags/v1", Hash{}, tag))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return append(garbage, first, old, head)
}

// reachable checks what refs reach and gives it.
func reachable(t *testing.T, r *Repo) map[Hash]bool {
	t.Helper()
	seen := map[Hash]bool{}
	refs, err := r.Refs("refs/")
	if err != nil || len(refs) != 2 {
		t.Fatalf("refs %v %v", refs, err)
	}
	for _, ref := range refs {
		if err := errors.Join(r.CheckTags(ref.Target, seen), r.CheckHistory(ref.Commit, seen, func(string, Hash) error { return nil })); err != nil {
			t.Fatal(err)
		}
	}
	return seen
}

// TestRefsWhileWriting: refs can be listed while one is written.
func TestRefsWhileWriting(t *testing.T) {
	r := newRepo(t)
	a, b := commit(t, r, map[string]string{"a": "1"}), commit(t, r, map[string]string{"a": "2"})
	if err := r.SetRef("refs/heads/x", Hash{}, a); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for range 200 {
			if err := errors.Join(r.SetRef("refs/heads/x", a, b), r.SetRef("refs/heads/x", b, a)); err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		if refs, err := r.Refs("refs/"); err != nil || len(refs) != 2 {
			t.Fatalf("%v %v", refs, err)
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}
