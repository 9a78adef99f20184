package safetensors

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const childKey = "SAFETENSORS_TEST_CHILD"

// zeros gives as many zero bytes as are asked for.
var zeros = reader(func(p []byte) (int, error) { clear(p); return len(p), nil })

// child runs the test binary again in the role of the named test.
func child(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), childKey+"="+path)
	return cmd
}

// TestDiskFull writes in a process that may not make files over 2 MiB: the kernel
// refuses the bytes as it does on a full disk. Nothing is left.
func TestDiskFull(t *testing.T) {
	if path := os.Getenv(childKey); path != "" {
		signal.Ignore(syscall.SIGXFSZ)
		limit := &syscall.Rlimit{Cur: 2 << 20, Max: 2 << 20}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, limit); err != nil {
			t.Fatal(err)
		}
		err := WriteFile(context.Background(), path, []Spec{{"a", U8, []int{16 << 20}}}, nil, func(string) (io.Reader, error) {
			return io.LimitReader(zeros, 16<<20), nil
		})
		if !errors.Is(err, syscall.EFBIG) {
			t.Errorf("got %v, want %v", err, syscall.EFBIG)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "x")
	if out, err := child(t, path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	wantEmpty(t, filepath.Dir(path))
}

// TestKilled kills a process while it writes over a file: the old file is whole.
func TestKilled(t *testing.T) {
	if path := os.Getenv(childKey); path != "" {
		err := WriteFile(context.Background(), path, []Spec{{"a", U8, []int{1 << 30}}}, nil, func(string) (io.Reader, error) {
			left := 8 << 20
			return reader(func(p []byte) (int, error) {
				if left -= len(p); left < 0 {
					select {} // until it is killed
				}
				return len(p), nil
			}), nil
		})
		t.Fatal("the child lived on:", err)
	}
	path := put(t, raw(good, 8))
	cmd := child(t, path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Millisecond) {
		temps, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*.tmp"))
		if len(temps) == 1 {
			if info, err := os.Stat(temps[0]); err == nil && info.Size() > 0 {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Error("the child did not begin to write")
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
