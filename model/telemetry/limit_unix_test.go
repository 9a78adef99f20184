//go:build unix

package telemetry

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFailedWrite has the system refuse a write in the middle of a piece, in a process of
// its own: the piece is not there, and smaller ones still fit.
func TestFailedWrite(t *testing.T) {
	const path, limit = "MES_TEST_LIMITED_FILE", 100
	if name := os.Getenv(path); name != "" {
		must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}))
		f, err := os.Create(name)
		must(t, err)
		a := appendFile{File: f}
		must(t, a.append(bytes.Repeat([]byte("a"), 60)))
		if err := a.append(bytes.Repeat([]byte("b"), 60)); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("error %v", err)
		}
		must(t, a.append(bytes.Repeat([]byte("c"), 20)))
		return
	}
	name := filepath.Join(t.TempDir(), "file")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFailedWrite$")
	cmd.Env = append(os.Environ(), path+"="+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(name)
	must(t, err)
	if want := append(bytes.Repeat([]byte("a"), 60), bytes.Repeat([]byte("c"), 20)...); !bytes.Equal(got, want) {
		t.Errorf("the file holds %q", got)
	}
}
