package server_test

import (
	"fmt"
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
