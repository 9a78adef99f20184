package gitrepo

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// git runs the real one, in a folder.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("git")
	if err != nil {
		t.Skip("needs git")
	}
	cmd := exec.Command(program, append([]string{"-C", dir, "-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "safe.directory=*"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return string(out)
}

func newRepo(t testing.TB) *Repo {
	t.Helper()
	r, err := Init(filepath.Join(t.TempDir(), "r.git"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// commit makes one on main; an empty content deletes.
func commit(t testing.TB, r *Repo, files map[string]string) Hash {
	t.Helper()
	w := r.NewWriter()
	defer w.Abort()
	var head Hash
	var parents []Hash
	if ref, err := r.Ref("refs/heads/main"); err == nil {
		head, parents = ref.Commit, []Hash{ref.Commit}
	}
	var changes []Change
	for path, content := range files {
		c := Change{Path: path}
		if content != "" {
			h, err := w.Blob([]byte(content))
			if err != nil {
				t.Fatal(err)
			}
			c.Blob = h
		}
		changes = append(changes, c)
	}
	tree, err := r.Edit(w, head, changes)
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.NewCommit(w, tree, parents, Author{"T", "t@example.org", time.Unix(int64(len(parents))*100+1, 0).UTC()}, "title\n\nwords")
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = r.SetRef("refs/heads/main", head, id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestGitReads: git itself finds what was written, and nothing to complain of.
func TestGitReads(t *testing.T) {
	for _, count := range []int{3, 300} { // loose objects, and a pack
		r := newRepo(t)
		files := map[string]string{}
		for i := range count {
			files[fmt.Sprintf("d%d/f.%d", i%7, i)] = fmt.Sprint("content ", i)
			files[fmt.Sprintf("d%d.x", i%7)] = "sorts before the folder"
		}
		commit(t, r, files)
		id := commit(t, r, map[string]string{"d1/f.1": "", "new/a/b": "x", "d2.x": "changed"})
		git(t, r.Dir(), "fsck", "--strict", "--full")
		if got := strings.TrimSpace(git(t, r.Dir(), "rev-parse", "main")); got != id.String() {
			t.Errorf("git sees %s, want %s", got, id)
		}
		// The same files through git's own index give the same tree.
		work := t.TempDir()
		git(t, work, "init", "-q")
		git(t, r.Dir(), "--work-tree="+work, "checkout", "-f", "main", "--", ".")
		git(t, work, "add", "-A", "-f")
		tree := strings.TrimSpace(git(t, work, "write-tree"))
		if c, err := r.Commit(id); err != nil || c.Tree.String() != tree {
			t.Errorf("tree %v, git makes %s (%v)", c.Tree, tree, err)
		}
		if _, err := os.Stat(filepath.Join(work, "d1/f.1")); err == nil {
			t.Error("a deleted file is there")
		}
	}
}

// TestReadGit reads what git wrote, packed with deltas, and after `git gc`.
func TestReadGit(t *testing.T) {
	r := newRepo(t)
	work := filepath.Join(t.TempDir(), "w")
	git(t, t.TempDir(), "init", "-q", "-b", "main", work)
	long := strings.Repeat("the same line again and again\n", 20_000)
	var ids []string
	for i := range 5 {
		for name, text := range map[string]string{"a.txt": fmt.Sprint(i), "dir/long.txt": long + fmt.Sprint(i)} {
			if err := os.MkdirAll(filepath.Join(work, filepath.Dir(name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		git(t, work, "add", ".")
		git(t, work, "commit", "-qm", fmt.Sprint("commit ", i))
		ids = append(ids, strings.TrimSpace(git(t, work, "rev-parse", "HEAD")))
	}
	git(t, work, "tag", "-a", "v1", "-m", "words", ids[1])
	git(t, work, "push", "-q", r.Dir(), "main", "v1")
	git(t, r.Dir(), "gc", "-q")
	for i, id := range ids {
		h, _, err := r.Resolve(id[:10])
		if err != nil || h.String() != id {
			t.Fatalf("short id: %v %v", h, err)
		}
		e, err := r.Entry(h, "dir/long.txt")
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Blob(e.Hash)
		if err != nil {
			t.Fatal(err)
		}
		want := long + fmt.Sprint(i)
		got, err := io.ReadAll(b)
		if err != nil || string(got) != want {
			t.Errorf("commit %d: %d bytes, %v", i, len(got), err)
		}
		for _, at := range []int64{int64(len(want)) - 3, 100_000, 0} { // backwards too
			part := make([]byte, 3)
			if _, err := b.Seek(at, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(b, part); err != nil || string(part) != want[at:at+3] {
				t.Errorf("at %d: %q %v", at, part, err)
			}
		}
		b.Close()
	}
	if h, ref, err := r.Resolve("v1"); err != nil || h.String() != ids[1] || ref != "refs/tags/v1" {
		t.Errorf("tag: %v %s %v", h, ref, err)
	}
	page, total, err := r.Log(plumbing.NewHash(ids[4]), 1, 2)
	if err != nil || total != 5 || len(page) != 2 || page[0].ID.String() != ids[3] || page[0].Title() != "commit 3" {
		t.Errorf("log: %d %v %v", total, page, err)
	}
	last, err := r.LastCommits(plumbing.NewHash(ids[4]), []string{"a.txt", "dir"}, 100)
	if err != nil || last["a.txt"].ID.String() != ids[4] {
		t.Errorf("last commits: %v %v", last, err)
	}
	if text, err := r.Diff(t.Context(), plumbing.NewHash(ids[3]), plumbing.NewHash(ids[4]), 1<<20); err != nil || !strings.Contains(text, "-3\n") || !strings.Contains(text, "+4\n") {
		t.Errorf("diff: %q %v", text[:min(200, len(text))], err)
	}
	// Refs that gc packed can be moved and deleted.
	if err := r.SetRef("refs/heads/main", plumbing.NewHash(ids[4]), plumbing.NewHash(ids[3])); err != nil {
		t.Error(err)
	}
	tag, err := r.Ref("refs/tags/v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.DeleteRef("refs/tags/v1", tag.Target); err != nil {
		t.Error(err)
	}
	if _, err := r.Ref("refs/tags/v1"); !errors.Is(err, ErrRevision) {
		t.Errorf("a deleted tag is there: %v", err)
	}
}

// TestRandomEdits compares trees under random edits with a map.
func TestRandomEdits(t *testing.T) {
	r := newRepo(t)
	rng := rand.New(rand.NewPCG(1, 2))
	have := map[string]string{"keep": "x"}
	commit(t, r, have)
	for round := range 40 {
		edit := map[string]string{}
		for range 1 + rng.IntN(10) {
			path := fmt.Sprintf("%c/%c%d", 'a'+rng.IntN(3), 'p'+rng.IntN(3), rng.IntN(3))
			if rng.IntN(3) == 0 && have[path] != "" {
				edit[path] = ""
			} else {
				edit[path] = fmt.Sprint("content ", round, rng.IntN(5))
			}
		}
		for path, content := range edit {
			if have[path] = content; content == "" {
				delete(have, path)
			}
		}
		id := commit(t, r, edit)
		root, err := r.Entry(id, "")
		if err != nil {
			t.Fatal(err)
		}
		list, err := r.List(root, true, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range list {
			if e.Dir {
				continue
			}
			n++
			if data, err := r.ReadBlob(e.Hash, 1000); err != nil || string(data) != have[e.Path] {
				t.Errorf("round %d: %s holds %q, want %q", round, e.Path, data, have[e.Path])
			}
		}
		if n != len(have) {
			t.Fatalf("round %d: %d files, want %d", round, n, len(have))
		}
	}
	git(t, r.Dir(), "fsck", "--strict")
}

func TestRefs(t *testing.T) {
	r := newRepo(t)
	a := commit(t, r, map[string]string{"a": "1"})
	b := commit(t, r, map[string]string{"a": "2"})
	var zero Hash
	steps := []struct {
		name     string
		ref      string
		old, new Hash
		want     error
	}{
		{"make", "refs/heads/x", zero, a, nil},
		{"make again", "refs/heads/x", zero, a, ErrExists},
		{"move from elsewhere", "refs/heads/x", b, a, ErrConflict},
		{"move", "refs/heads/x", a, b, nil},
		{"move what is not there", "refs/heads/y", a, b, ErrConflict},
		{"below a ref", "refs/heads/x/y", zero, a, ErrExists},
		{"folder", "refs/heads/d/e/f", zero, a, nil},
		{"in place of a folder", "refs/heads/d/e", zero, a, ErrExists},
		{"leaves", "refs/heads/../../config", zero, a, ErrRefName},
		{"lock", "refs/heads/x.lock", zero, a, ErrRefName},
		{"blank", "refs/heads/a b", zero, a, ErrRefName},
		{"like an option", "refs/heads/-x", zero, a, ErrRefName},
		{"dots", "refs/heads/a..b", zero, a, ErrRefName},
		{"caret", "refs/heads/a^", zero, a, ErrRefName},
		{"at", "refs/heads/a@{1}", zero, a, ErrRefName},
		{"hidden", "refs/heads/.a", zero, a, ErrRefName},
		{"long", "refs/heads/" + strings.Repeat("a", 300), zero, a, ErrRefName},
	}
	for _, s := range steps {
		if err := r.SetRef(s.ref, s.old, s.new); !errors.Is(err, s.want) {
			t.Errorf("%s: %v, want %v", s.name, err, s.want)
		}
	}
	if err := r.DeleteRef("refs/heads/d/e/f", b); !errors.Is(err, ErrConflict) {
		t.Errorf("delete from elsewhere: %v", err)
	}
	if err := r.DeleteRef("refs/heads/d/e/f", a); err != nil {
		t.Error(err)
	}
	if err := r.SetRef("refs/heads/d", zero, a); err != nil {
		t.Errorf("a name whose folder is empty now: %v", err)
	}
	var won sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if r.SetRef("refs/heads/race", zero, a) == nil {
				won.Store(i, true)
			}
		})
	}
	wg.Wait()
	n := 0
	won.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d of 8 made the ref", n)
	}
}

func TestMergePlan(t *testing.T) {
	r := newRepo(t)
	base := commit(t, r, map[string]string{"same": "1", "mine": "1", "theirs": "1", "both": "1", "gone": "1"})
	ours := commit(t, r, map[string]string{"mine": "2", "both": "2", "new": "same"})
	if err := r.SetRef("refs/heads/main", ours, base); err != nil {
		t.Fatal(err)
	}
	theirs := commit(t, r, map[string]string{"theirs": "2", "both": "3", "gone": "", "new": "same", "dir/x": "4"})
	plan, err := r.PlanMerge(ours, theirs)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, c := range plan.Changes {
		paths = append(paths, c.Path)
	}
	slices.Sort(paths)
	if fmt.Sprint(paths, plan.Conflicts) != "[both dir/x gone theirs] [both]" || plan.From != base {
		t.Errorf("plan %v %v from %v", paths, plan.Conflicts, plan.From)
	}
}

// FuzzRevision: no revision finds anything but commits of this repository.
func FuzzRevision(f *testing.F) {
	r, err := Init(filepath.Join(f.TempDir(), "r.git"), Options{})
	if err != nil {
		f.Fatal(err)
	}
	id := commit(f, r, map[string]string{"a": "1"})
	for _, seed := range []string{"main", "HEAD", "refs/heads/main", id.String(), id.String()[:7], "../config", "main^", "heads/main", "", "refs/", "config", "a\x00b", "refs/heads/../../HEAD"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rev string) {
		h, _, err := r.Resolve(rev)
		if err == nil && h != id {
			t.Errorf("%q is %s", rev, h)
		}
		if err != nil && !errors.Is(err, ErrRevision) {
			t.Errorf("%q: %v", rev, err)
		}
	})
}

// FuzzTree: a tree that is read is written again as it was, or was not in git's order.
func FuzzTree(f *testing.F) {
	f.Add([]byte("100644 a\x0012345678901234567890"))
	f.Add([]byte("40000 d\x0012345678901234567890100644 d.x\x0012345678901234567890"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := decodeTree(data)
		if err != nil {
			return
		}
		again, err := decodeTree(encodeTree(slices.Clone(tree)))
		if err != nil || len(again) != len(tree) {
			t.Errorf("%q: %v", data, err)
		}
	})
}
