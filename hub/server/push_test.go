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
	line := strings.Repeat("0", 40) + " " + id + " " + ref + "\x00report-status"
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
