package server_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub/server"
	"github.com/mamba-encoder-swarm/mes/hub/server/meta"
)

// TestPushFullDisk lets each write of a `git push` fail: git is told, the branch
// stays, nothing is left in quarantine, and the next push succeeds.
func TestPushFullDisk(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("needs git")
	}
	failAt, count := -1, 0
	h := newHub(t, func(c *server.Config) {
		c.Fault = func(string) error {
			if count++; count == failAt {
				return syscall.ENOSPC
			}
			return nil
		}
	})
	h.create("model", "m", false)
	h.commit("alice/m", file("start", "x"))
	work := filepath.Join(t.TempDir(), "work")
	run := func(args ...string) error {
		cmd := exec.Command(git, append([]string{"-C", filepath.Dir(work), "-c", "user.name=A", "-c", "user.email=a@example.org"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	h.must(run("clone", "-q", strings.Replace(h.url, "://", "://alice:"+h.tokens["alice"]+"@", 1)+"/alice/m", work))
	h.must(os.WriteFile(filepath.Join(work, "pushed"), []byte("pushed"), 0o600))
	h.must(run("-C", work, "add", "."))
	h.must(run("-C", work, "commit", "-qm", "pushed"))
	failed := 0
	for at := 1; ; at++ {
		failAt, count = at, 0
		err := run("-C", work, "push", "-q")
		hit := count >= failAt
		failAt = -1
		h.healthy(fmt.Sprint("write ", at))
		if left, err := filepath.Glob(filepath.Join(h.dir, "git", "*", "*", "tmp-*")); err != nil || len(left) > 0 {
			t.Errorf("left in quarantine: %v %v", left, err)
		}
		if !hit {
			h.must(err)
			break
		}
		if err != nil {
			failed++
		}
		if at > 50 {
			t.Fatal("the push never succeeds")
		}
	}
	if failed < 5 {
		t.Errorf("only %d pushes failed", failed)
	}
	if got := h.want(200, "", "GET", "/alice/m/resolve/main/pushed", nil).body; got != "pushed" {
		t.Errorf("pushed %q", got)
	}
}

// object is one of git's; its kinds are numbered as in packs.
type object struct {
	kind int
	data string
}

const (
	gitCommit = 1 + iota
	gitTree
	gitBlob
)

// id is the name that git gives to an object.
func (o object) id() [20]byte {
	kind := []string{"", "commit", "tree", "blob"}[o.kind]
	return sha1.Sum(fmt.Appendf(nil, "%s %d\x00%s", kind, len(o.data), o.data))
}

func (o object) hex() string { id := o.id(); return hex.EncodeToString(id[:]) }

// entry makes a folder of one entry.
func (o object) entry(mode, name string) object {
	id := o.id()
	return object{gitTree, mode + " " + name + "\x00" + string(id[:])}
}

// commit makes a commit of a folder.
func (o object) commit(words string) object {
	return object{gitCommit, "tree " + o.hex() + "\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n" + words + "\n"}
}

// push is the body of a `git push` of a new branch with a pack of objects.
func push(ref, id string, objects ...object) string {
	return pushOver(strings.Repeat("0", 40), ref, id, "report-status", objects...)
}

// pushOver is push over a branch that is there, by a client that can do some things.
func pushOver(old, ref, id, abilities string, objects ...object) string {
	line := old + " " + id + " " + ref + "\x00" + abilities
	var out bytes.Buffer
	fmt.Fprintf(&out, "%04x%s0000", len(line)+4, line)
	if len(objects) == 0 {
		return out.String()
	}
	pack := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(objects)))
	for _, o := range objects {
		n := len(o.data)
		b := byte(o.kind)<<4 | byte(n&15)
		for n >>= 4; n > 0; n >>= 7 {
			pack = append(pack, b|0x80)
			b = byte(n & 0x7f)
		}
		packed := bytes.NewBuffer(append(pack, b))
		zw := zlib.NewWriter(packed)
		_, _ = io.WriteString(zw, o.data)
		zw.Close()
		pack = packed.Bytes()
	}
	sum := sha1.Sum(pack)
	return out.String() + string(pack) + string(sum[:])
}

// TestPushHidesNothing: what a push brings beside what its refs need is not there for
// a later push to name, so that no file comes in unchecked.
func TestPushHidesNothing(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	file := object{gitBlob, "a file"}
	good := file.entry("100644", "f")
	pointer := object{gitBlob, "version https://git-lfs.github.com/spec/v1\noid sha256:" + sha("of another repo") + "\nsize 15\n"}
	for name, bad := range map[string]object{
		"link": file.entry("120000", "f"), "hook": file.entry("100644", ".git"), "up": file.entry("100644", ".."), "pointer": pointer.entry("100644", "f"),
	} {
		seen, hidden := good.commit(name), bad.commit(name)
		r := h.want(200, "alice", "POST", "/alice/m.git/git-receive-pack", push("refs/heads/seen", seen.hex(), file, pointer, good, seen, bad, hidden))
		if !strings.Contains(r.body, "ng refs/heads/seen") || !strings.Contains(r.body, "no pushed branch or tag needs") {
			t.Errorf("%s: %q", name, r.body)
		}
		r = h.want(200, "alice", "POST", "/alice/m.git/git-receive-pack", push("refs/heads/hidden", hidden.hex()))
		if !strings.Contains(r.body, "ng refs/heads/hidden") {
			t.Errorf("%s: the hidden commit is a branch: %q", name, r.body)
		}
		r = h.want(200, "alice", "POST", "/alice/m.git/git-receive-pack", push("refs/heads/hidden", hidden.hex(), file, pointer, bad, hidden))
		if !strings.Contains(r.body, "ng refs/heads/hidden") {
			t.Errorf("%s: it is taken when it is seen: %q", name, r.body)
		}
	}
	seen := good.commit("good")
	if r := h.want(200, "alice", "POST", "/alice/m.git/git-receive-pack", push("refs/heads/seen", seen.hex(), file, good, seen)); !strings.Contains(r.body, "ok refs/heads/seen") {
		t.Errorf("a good push: %q", r.body)
	}
	h.want(200, "", "GET", "/alice/m/resolve/seen/f", nil)
}

// TestPushBomb: a small push that unfolds to much is refused with a sentence.
func TestPushBomb(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	bomb := object{gitBlob, strings.Repeat("\x00", 65<<20)}
	tree := bomb.entry("100644", "f")
	head := tree.commit("bomb")
	r := h.want(200, "alice", "POST", "/alice/m.git/git-receive-pack", push("refs/heads/x", head.hex(), bomb, tree, head))
	if !strings.Contains(r.body, "ng refs/heads/x the push is refused: a blob of 68157440 bytes") {
		t.Errorf("%q", r.body)
	}
}

// gitWork is a clone of a repo by git itself, in which run runs a command of git and
// gives what it said.
type gitWork struct {
	h   *hub
	dir string
}

func (h *hub) clone(as, repo string) gitWork {
	h.t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		h.t.Skip("needs git")
	}
	w := gitWork{h, filepath.Join(h.t.TempDir(), "work")}
	address := strings.Replace(h.url, "://", "://"+as+":"+h.tokens[as]+"@", 1) + "/" + repo
	if out, err := w.git(filepath.Dir(w.dir), "clone", "-q", address, w.dir); err != nil {
		h.t.Fatalf("clone: %v: %s", err, out)
	}
	return w
}

func (w gitWork) git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=A", "-c", "user.email=a@example.org"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// commit puts files in and commits them.
func (w gitWork) commit(files ...string) {
	w.h.t.Helper()
	for _, name := range files {
		w.h.must(os.MkdirAll(filepath.Dir(filepath.Join(w.dir, name)), 0o700))
		w.h.must(os.WriteFile(filepath.Join(w.dir, name), []byte("content of "+name), 0o600))
	}
	w.must("add", ".")
	w.must("commit", "-qm", "pushed")
}

func (w gitWork) must(args ...string) string {
	w.h.t.Helper()
	out, err := w.git(w.dir, args...)
	if err != nil {
		w.h.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return out
}

// TestPushWarnsOfAlikeNames: git shows a warning of names that other systems take for
// one, also when the content was there before, and none for those that were there.
func TestPushWarnsOfAlikeNames(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.commit("alice/m", file("README.md", "x"))
	w := h.clone("alice", "alice/m")
	w.commit("other")
	if out := w.must("push", "-q"); strings.Contains(out, "warning") {
		t.Errorf("nothing to warn of: %s", out)
	}
	w.h.must(os.WriteFile(filepath.Join(w.dir, "readme.md"), []byte("x"), 0o600)) // README.md's content
	w.commit("docs/caf\u00e9", "docs/cafe\u0301")
	out := w.must("push", "-q")
	for _, want := range []string{
		`remote: warning: "README.md" and "readme.md" differ only in case or Unicode form: on macOS and Windows one replaces the other, so rename one of them`,
		`remote: warning: "docs/cafe\u0301" and "docs/caf\u00e9" differ`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("git says %q, want %q", out, want)
		}
	}
	if got := h.want(200, "", "GET", "/alice/m/resolve/main/readme.md", nil).body; got != "x" {
		t.Errorf("readme.md holds %q", got)
	}
	w.commit("more")
	if out := w.must("push", "-q"); strings.Contains(out, "warning") {
		t.Errorf("warned again: %s", out)
	}
	w.must("push", "-q", "origin", "HEAD:refs/heads/side", "HEAD:refs/tags/v1")
}

// TestPushReport: a client that wants no side band gets the bare report, and one that
// does gets a report that is longer than a line of it whole.
func TestPushReport(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	a, b := object{gitBlob, "a"}, object{gitBlob, "b"}
	id := [2][20]byte{a.id(), b.id()}
	tree := object{gitTree, "100644 F\x00" + string(id[0][:]) + "100644 f\x00" + string(id[1][:])}
	head := tree.commit("both")
	const at = "/alice/m.git/git-receive-pack"
	r := h.want(200, "alice", "POST", at, push("refs/heads/bare", head.hex(), a, b, tree, head))
	if r.body != "000eunpack ok\n0017ok refs/heads/bare\n0000" {
		t.Errorf("bare: %q", r.body)
	}
	zero := strings.Repeat("0", 40)
	r = h.want(200, "alice", "POST", at, pushOver(zero, "refs/heads/band", head.hex(), "report-status side-band-64k"))
	if !strings.Contains(r.body, "\x02warning: \"F\" and \"f\" differ only") || !strings.HasSuffix(r.body, "\x01000eunpack ok\n0017ok refs/heads/band\n00000000") {
		t.Errorf("band: %q", r.body)
	}
	var many strings.Builder
	for i := range 900 {
		line := fmt.Sprintf("%s %s refs/heads/%s-%d", zero, head.hex(), strings.Repeat("long", 20), i)
		if i == 0 {
			line += "\x00report-status side-band-64k"
		}
		fmt.Fprintf(&many, "%04x%s", len(line)+4, line)
	}
	r = h.want(200, "alice", "POST", at, many.String()+"0000")
	report, lines := "", 0
	for rest := r.body; rest != "0000"; lines++ {
		var n int
		if _, err := fmt.Sscanf(rest, "%04x", &n); err != nil || n < 5 || n > 65520 {
			t.Fatalf("line %d: %d, %v", lines, n, err)
		}
		if rest[4] == 1 {
			report += rest[5:n]
		}
		rest = rest[n:]
	}
	if strings.Count(report, "ok refs/heads/long") != 900 || !strings.HasSuffix(report, "0000") || lines < 3 {
		t.Errorf("%d lines, a report of %d bytes", lines, len(report))
	}
}

// TestPushToOwnPullRequest: who opened a pull request adds to it by git without being
// a writer, under the checks of every push; no other ref moves, and nobody else's.
func TestPushToOwnPullRequest(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.commit("alice/m", file("start", "x"))
	h.want(403, "bob", "GET", "/alice/m.git/info/refs?service=git-receive-pack", nil)
	open := func(as string) string {
		r := h.want(200, as, "POST", "/api/models/alice/m/discussions", map[string]any{"title": "a change", "pullRequest": true})
		return fmt.Sprintf("refs/pr/%d", field[int](h, r, "num"))
	}
	own, other, closed := open("bob"), open("carol"), open("bob")
	h.want(200, "bob", "POST", "/api/models/alice/m/discussions/"+strings.TrimPrefix(closed, "refs/pr/")+"/status", map[string]any{"status": "closed"})

	w := h.clone("bob", "alice/m")
	w.must("fetch", "-q", "origin", own)
	w.must("checkout", "-q", "FETCH_HEAD")
	w.commit("proposed")
	w.must("push", "-q", "origin", "HEAD:"+own)
	if got := h.want(200, "", "GET", "/alice/m/resolve/refs%2Fpr%2F1/proposed", nil).body; got != "content of proposed" {
		t.Errorf("the pull request holds %q", got)
	}
	h.want(404, "", "GET", "/alice/m/resolve/main/proposed", nil)
	refs := h.want(200, "", "GET", "/api/models/alice/m/refs?include_prs=1", nil).body
	for name, args := range map[string][]string{
		"a branch": {"HEAD:refs/heads/main"}, "a new branch": {"HEAD:refs/heads/new"}, "a tag": {"HEAD:refs/tags/v1"},
		"another's": {"+HEAD:" + other}, "a closed one": {"+HEAD:" + closed}, "one that is not there": {"HEAD:refs/pr/99"},
		"its end": {":" + own}, "with a branch": {"+HEAD~1:" + own, "HEAD:refs/heads/new"},
	} {
		out, err := w.git(w.dir, append([]string{"push", "origin"}, args...)...)
		if err == nil || !strings.Contains(out, "own open pull requests") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	h.must(os.Symlink("/etc/passwd", filepath.Join(w.dir, "link")))
	w.commit()
	if out, err := w.git(w.dir, "push", "origin", "HEAD:"+own); err == nil || !strings.Contains(out, "link or a submodule") {
		t.Errorf("a link: %v: %s", err, out)
	}
	if got := h.want(200, "", "GET", "/api/models/alice/m/refs?include_prs=1", nil).body; got != refs {
		t.Errorf("refs moved:\n%s\n%s", refs, got)
	}
	for who, status := range map[string]int{"": 401, "dave": 403, "alice-read": 403} {
		h.want(status, who, "GET", "/alice/m.git/info/refs?service=git-receive-pack", nil)
		h.want(status, who, "POST", "/alice/m.git/git-receive-pack", "0000")
	}
	h.token("bob-read", meta.Token{User: "bob", Kind: meta.TokenRead})
	h.want(403, "bob-read", "POST", "/alice/m.git/git-receive-pack", "0000")
	h.want(200, "bob", "POST", "/api/models/alice/m/discussions/1/status", map[string]any{"status": "closed"})
	h.want(403, "bob", "GET", "/alice/m.git/info/refs?service=git-receive-pack", nil)
}
