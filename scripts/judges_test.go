package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunJudges: a judge that fails makes run.sh fail; one that lacks a tool is named,
// and makes it fail in CI alone.
func TestRunJudges(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	run, err := os.ReadFile("judges/run.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := write(t, dir, "run.sh", run)
	write(t, dir, "lib.sh", []byte("exit 1"))
	for name, code := range map[string]string{"good": "0", "lacking": "77", "wrong": "1"} {
		write(t, dir, name+".sh", []byte("#!/bin/sh\nexit "+code+"\n"))
	}
	for _, c := range []struct {
		ci, args, want string
		ok             bool
	}{
		{"", "good", "judges: 1 passed, failed: none, skipped: none", true},
		{"true", "good", "judges: 1 passed, failed: none, skipped: none", true},
		{"", "good lacking", "judges: 1 passed, failed: none, skipped: lacking", true},
		{"true", "good lacking", "judges: 1 passed, failed: none, skipped: lacking", false},
		{"", "wrong good", "judges: 1 passed, failed: wrong, skipped: none", false},
		{"", "", "judges: 1 passed, failed: wrong, skipped: lacking", false}, // all there are
	} {
		cmd := exec.Command(bash, append([]string{path}, strings.Fields(c.args)...)...)
		cmd.Dir = filepath.Dir(dir)
		cmd.Env = append(os.Environ(), "CI="+c.ci)
		out, err := cmd.CombinedOutput()
		if (err == nil) != c.ok || !strings.Contains(string(out), c.want+"\n") {
			t.Errorf("CI=%q run.sh %s: %v, printed %q; want %q", c.ci, c.args, err, out, c.want)
		}
	}
}
