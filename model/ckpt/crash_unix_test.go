//go:build unix

package ckpt

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// child runs this test's process again, with something to do on a folder.
func child(t *testing.T, do, dir string, at int) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), "MES_TEST_DO="+do, "MES_TEST_DIR="+dir, fmt.Sprint("MES_TEST_AT=", at))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestChild is what the other process does.
func TestChild(t *testing.T) {
	dir := os.Getenv("MES_TEST_DIR")
	if dir == "" {
		return // no child
	}
	var at int
	fmt.Sscan(os.Getenv("MES_TEST_AT"), &at)
	switch os.Getenv("MES_TEST_DO") {
	case "open":
		opened(t, Config{Dir: dir})
	case "save": // and be killed before change number at
		count := 0
		m, err := open(Config{Dir: dir, Keep: 2}, func(string, string) error {
			if count++; count == at {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return nil
		})
		must(t, err)
		save(t, m, snapshot(3))
		must(t, m.Close())
	case "limit": // files of at bytes at most
		limit := syscall.Rlimit{Cur: uint64(at), Max: uint64(at)}
		must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
		m := opened(t, Config{Dir: dir})
		must(t, m.Save(t.Context(), snapshot(3)))
		fmt.Println(m.Wait())
	}
}

// TestTwoProcesses starts a second process on the folder.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	opened(t, Config{Dir: dir})
	out, err := child(t, "open", dir, 0)
	host, _ := os.Hostname()
	want := fmt.Sprintf("used by process %d on %s; stop it or choose another folder", os.Getpid(), host)
	if err == nil || !strings.Contains(out, want) {
		t.Errorf("the second process: %v, %s", err, out)
	}
	var locked *LockedError
	if _, err := Open(Config{Dir: dir}); !errors.As(err, &locked) || locked.Dir != dir {
		t.Errorf("the same process: %v", err)
	}
}

// twoSteps makes a folder with checkpoints of steps 1 and 2, and what a killed process
// may have left.
func twoSteps(t *testing.T, dir string) {
	t.Helper()
	m := opened(t, Config{Dir: dir})
	save(t, m, snapshot(1))
	save(t, m, snapshot(2))
	must(t, m.Close())
	must(t, os.WriteFile(filepath.Join(dir, tempDir, "3.json"), []byte("{"), 0o644))
	orphan := strings.Repeat("ab", 32)
	must(t, os.MkdirAll(filepath.Join(dir, objectsDir, "ab"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, objectsDir, "ab", orphan), []byte("left"), 0o644))
}

// TestKill kills a process before every change that opening and saving make to the disk.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process for each change")
	}
	start := t.TempDir()
	twoSteps(t, start)
	kills, newest := 0, map[int64]int{}
	for at := 1; ; at++ {
		dir := filepath.Join(t.TempDir(), "checkpoints")
		must(t, os.CopyFS(dir, os.DirFS(start)))
		out, err := child(t, "save", dir, at)
		if err == nil {
			break // there are fewer changes
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("change %d: %v\n%s", at, err, out)
		}
		kills++
		m := opened(t, Config{Dir: dir, Keep: 2, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if len(m.bad) > 0 {
			t.Errorf("change %d leaves corrupt checkpoints: %v", at, m.bad)
		}
		s, err := m.Last()
		must(t, err)
		newest[s.Step]++
		same(t, s, snapshot(s.Step))
		if s.Step == 3 {
			s, err = m.Load(2) // the one to fall back to
			must(t, err)
			same(t, s, snapshot(2))
		}
		clean(t, dir, m)
		save(t, m, snapshot(3))
		clean(t, dir, m)
		must(t, m.Close())
	}
	if kills < 20 || newest[2] < 10 || newest[3] < 5 || newest[2]+newest[3] != kills {
		t.Errorf("%d kills, newest afterwards %v", kills, newest)
	}
}

// TestEveryWriteFails lets each change in turn fail as on a full disk.
func TestEveryWriteFails(t *testing.T) {
	failed := 0
	for at := 1; ; at++ {
		dir := filepath.Join(t.TempDir(), "checkpoints")
		count := 0
		m, err := open(Config{Dir: dir, Keep: 1}, func(string, string) error {
			if count++; count == at {
				return syscall.ENOSPC
			}
			return nil
		})
		must(t, err)
		count = -1 << 30 // not yet
		save(t, m, snapshot(1))
		count = 0
		must(t, m.Save(t.Context(), snapshot(2)))
		err = m.Wait()
		reached := count >= at
		switch {
		case err != nil:
			failed++
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "save checkpoint 2 in "+dir) || !strings.HasSuffix(err.Error(), "checkpoint 1 is intact") {
				t.Errorf("change %d: %v", at, err)
			}
			if m.Wait() != nil {
				t.Error("an error was told twice")
			}
			s, err := m.Last()
			must(t, err)
			same(t, s, snapshot(s.Step)) // 2 where only the disk's confirmation is lacking
		case reached: // failed while old ones were removed: the new one is there
			s, err := m.Last()
			must(t, err)
			same(t, s, snapshot(2))
		}
		if err != nil {
			clean(t, dir, m)
		}
		count = -1 << 30
		save(t, m, snapshot(2))
		clean(t, dir, m)
		must(t, m.Close())
		if !reached {
			break
		}
	}
	if failed < 10 {
		t.Errorf("only %d changes failed", failed)
	}
}

// TestOrder holds what no kill shows and a power cut would: bytes are on the disk before
// their name is, objects with their names before the manifest, and the manifest with its
// name before anything is removed.
func TestOrder(t *testing.T) {
	var ops []string
	m, err := open(Config{Dir: t.TempDir(), Keep: 1}, func(op, name string) error {
		ops = append(ops, op+" "+name)
		return nil
	})
	must(t, err)
	defer m.Close()
	save(t, m, snapshot(1))
	ops = nil
	save(t, m, snapshot(2))
	at := func(op string) int {
		i := slices.Index(ops, op)
		if i < 0 {
			t.Fatalf("there is no %q in %q", op, ops)
		}
		return i
	}
	manifest := at("create steps/2.json")
	for _, tensor := range snapshot(2).Tensors[1:] {
		object := objectPath(hashOf(tensor.Data))
		if i := at("sync " + object); i > at("rename "+object) || at("rename "+object) > at("sync folder "+path.Dir(object)) || at("sync folder "+path.Dir(object)) > manifest {
			t.Errorf("%s: %q", object, ops)
		}
	}
	if named := at("sync folder steps"); at("sync steps/2.json") > at("rename steps/2.json") || at("rename steps/2.json") > named || named > at("remove steps/1.json") {
		t.Errorf("manifest: %q", ops)
	}
	gone := slices.IndexFunc(ops, func(op string) bool { return strings.HasPrefix(op, "remove objects/") })
	if gone < at("remove steps/1.json") || ops[gone-1] != "sync folder steps" {
		t.Errorf("an object went before the manifest that named it: %q", ops)
	}
}

// TestErrorIsToldByNextSave holds that a failed save is not lost when nobody waits.
func TestErrorIsToldByNextSave(t *testing.T) {
	broken := false
	m, err := open(Config{Dir: t.TempDir()}, func(op, _ string) error {
		if broken && op == "create" {
			return syscall.EIO
		}
		return nil
	})
	must(t, err)
	broken = true
	must(t, m.Save(t.Context(), snapshot(1)))
	if err := m.Save(t.Context(), snapshot(2)); !errors.Is(err, syscall.EIO) {
		t.Errorf("the next save: %v", err)
	}
	broken = false
	save(t, m, snapshot(3))
	broken = true
	must(t, m.Save(t.Context(), snapshot(5)))
	if err := m.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Close: %v", err)
	}
}

// TestFileSizeLimit lets the system itself refuse a write.
func TestFileSizeLimit(t *testing.T) {
	dir := t.TempDir()
	m := opened(t, Config{Dir: dir})
	save(t, m, snapshot(1))
	must(t, m.Close())
	out, err := child(t, "limit", dir, 20) // a tensor of 30 bytes does not fit
	if err != nil || !strings.Contains(out, `write tensor "adam.m"`) || !strings.Contains(out, "file too large; checkpoint 1 is intact") {
		t.Errorf("%v\n%s", err, out)
	}
	m = opened(t, Config{Dir: dir})
	s, err := m.Last()
	must(t, err)
	same(t, s, snapshot(1))
	clean(t, dir, m)
}
