package ckpt

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestFallBack damages the newest checkpoint in every way; the one before is found, and
// the logger is told.
func TestFallBack(t *testing.T) {
	own := snapshot(2).Tensors[1].Data // of step 2 alone
	object := objectPath(hashOf(own))
	cases := []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"manifest cut", func(dir string) error { return os.Truncate(filepath.Join(dir, "steps/2.json"), 100) }, "unexpected EOF"},
		{"manifest empty", func(dir string) error { return os.Truncate(filepath.Join(dir, "steps/2.json"), 0) }, "EOF"},
		{"manifest changed", func(dir string) error { return replace(filepath.Join(dir, "steps/2.json"), "adam", "Adam") }, "checksum differs"},
		{"manifest of another step", func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, "steps/1.json"))
			return errors.Join(err, os.WriteFile(filepath.Join(dir, "steps/2.json"), data, 0o644))
		}, "is that of step 1"},
		{"manifest leads outside", func(dir string) error {
			outside := filepath.Join(dir, "..", "2.json")
			return errors.Join(os.Rename(filepath.Join(dir, "steps/2.json"), outside), os.Symlink(outside, filepath.Join(dir, "steps/2.json")))
		}, "no regular file"},
		{"object missing", func(dir string) error { return os.Remove(filepath.Join(dir, object)) }, "is missing"},
		{"object cut", func(dir string) error { return os.Truncate(filepath.Join(dir, object), 29) }, "has 29 bytes instead of 30"},
		{"object longer", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, object), make([]byte, 31), 0o644)
		}, "has 31 bytes instead of 30"},
		{"object changed", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, object), make([]byte, 30), 0o644)
		}, "does not have its sha256"},
		{"object leads outside", func(dir string) error {
			outside := filepath.Join(dir, "..", "object")
			return errors.Join(os.Rename(filepath.Join(dir, object), outside), os.Symlink(outside, filepath.Join(dir, object)))
		}, "no regular file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "checkpoints")
			m := opened(t, Config{Dir: dir})
			save(t, m, snapshot(1))
			save(t, m, snapshot(2))
			must(t, m.Close())
			must(t, c.damage(dir))

			var log bytes.Buffer
			m = opened(t, Config{Dir: dir, Keep: 2, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			s, err := m.Last()
			must(t, err)
			same(t, s, snapshot(1))
			for _, want := range []string{"corrupt checkpoint", "step=2", c.want, "newest whole checkpoint"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("the log lacks %q:\n%s", want, log.String())
				}
			}
			copied := filepath.Join(t.TempDir(), "copy")
			info, err := m.Copy(copied)
			must(t, err)
			if info.Step != 1 {
				t.Errorf("copied step %d", info.Step)
			}
			to := opened(t, Config{Dir: copied})
			s, err = to.Last()
			must(t, err)
			same(t, s, snapshot(1))
			var corrupt *CorruptError
			if _, err := m.Load(2); !errors.As(err, &corrupt) || corrupt.Step != 2 || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Load: %v", err)
			}
			if got := steps(m); !slices.Equal(got, []int64{1}) {
				t.Errorf("listed %v", got)
			}
			// the run goes on from step 1, and the damaged one is gone
			s = snapshot(2)
			save(t, m, s)
			got, err := m.Last()
			must(t, err)
			same(t, got, s)
			clean(t, dir, m)
		})
	}
}

// replace changes a text in a file.
func replace(path, old, new string) error {
	data, err := os.ReadFile(path)
	return errors.Join(err, os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(new), 1), 0o644))
}

// TestOnlyCorrupt holds that damage is not mistaken for a folder without checkpoints,
// after which a run would begin anew.
func TestOnlyCorrupt(t *testing.T) {
	dir := t.TempDir()
	m := opened(t, Config{Dir: dir})
	save(t, m, snapshot(1))
	must(t, m.Close())
	must(t, os.Truncate(filepath.Join(dir, "steps/1.json"), 9))
	before := len(objects(t, dir))
	m = opened(t, Config{Dir: dir})
	_, err := m.Last()
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || errors.Is(err, ErrNone) {
		t.Errorf("Last: %v", err)
	}
	if after := len(objects(t, dir)); after != before {
		t.Errorf("%d of %d objects are left for somebody to look at", after, before)
	}
}

// TestOtherFormat holds that a newer program's checkpoints are refused and stay.
func TestOtherFormat(t *testing.T) {
	dir := t.TempDir()
	m := opened(t, Config{Dir: dir})
	save(t, m, snapshot(1))
	must(t, m.Close())
	man := *m.steps[1]
	man.Format = "mes-checkpoint/2"
	data, err := man.encode()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "steps/5.json"), data, 0o644))
	before := tree(t, dir)
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), `another format: "mes-checkpoint/2"`) {
		t.Errorf("Open: %v", err)
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// TestLinkedFolders holds that folders which lead outside are not followed.
func TestLinkedFolders(t *testing.T) {
	for _, name := range []string{objectsDir, stepsDir, tempDir, "lock"} {
		dir, outside := t.TempDir(), t.TempDir()
		precious := filepath.Join(outside, "file")
		must(t, os.WriteFile(precious, []byte("precious"), 0o644))
		target := outside
		if name == "lock" {
			target = precious
		}
		must(t, os.Symlink(target, filepath.Join(dir, name)))
		if m, err := Open(Config{Dir: dir}); err == nil {
			m.Close()
			t.Errorf("%s may be a link to another folder", name)
		}
		if data, err := os.ReadFile(precious); err != nil || string(data) != "precious" {
			t.Errorf("%s: the file outside: %q, %v", name, data, err)
		}
	}
}

// TestForeignFiles holds that files which are not ours stay.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	m := opened(t, Config{Dir: dir, Keep: 1})
	foreign := []string{"notes.txt", "steps/notes.json", "steps/007.json", "objects/readme", "objects/ab/readme"}
	must(t, os.MkdirAll(filepath.Join(dir, "objects/ab"), 0o755))
	for _, name := range foreign {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	for step := int64(1); step < 4; step++ {
		save(t, m, snapshot(step))
	}
	files := tree(t, dir)
	for _, name := range foreign {
		if _, ok := files[name]; !ok {
			t.Errorf("%s is gone", name)
		}
	}
}

// TestTornManifest cuts a manifest at every byte: no part of it is a manifest.
func TestTornManifest(t *testing.T) {
	s := snapshot(3)
	man, err := newManifest(&s, time.Now())
	must(t, err)
	data, err := man.encode()
	must(t, err)
	for n := range len(data) - 2 { // without the line end it is whole
		if _, err := parseManifest(data[:n]); err == nil {
			t.Errorf("%d of %d bytes are a manifest", n, len(data))
		}
	}
	for _, more := range []string{"x", "{}", string(data)} {
		if _, err := parseManifest(append(slices.Clone(data), more...)); err == nil {
			t.Errorf("a manifest followed by %q is one", more)
		}
	}
}

// FuzzManifest reads any text as a manifest, and as what a checksum covers.
func FuzzManifest(f *testing.F) {
	s := snapshot(3)
	man, _ := newManifest(&s, time.Unix(0, 0))
	whole, _ := man.encode()
	f.Add(whole)
	f.Add(whole[len(`{"sha256":"","checkpoint":`)+64 : len(whole)-2])
	f.Add([]byte(`{"format":"mes-checkpoint/1","step":1,"time":"2026-01-02T03:04:05Z","loss":null,"tensors":null}`))
	f.Add([]byte(`{"format":"mes-checkpoint/1","step":1,"time":"2026-01-02T03:04:05Z","loss":1,"tensors":[{"name":"../x","dtype":"F32","shape":[4611686018427387904,4],"bytes":0,"sha256":"` + noHash + `"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range [][]byte{data, fmt.Appendf(nil, `{"sha256":%q,"checkpoint":%s}`, hashOf(data), data)} {
			man, err := parseManifest(file)
			if err != nil {
				continue
			}
			if err := man.check(); err != nil {
				t.Fatalf("accepted, and %v", err)
			}
			again, err := man.encode()
			if err != nil {
				t.Fatal(err)
			}
			back, err := parseManifest(again)
			if err != nil {
				t.Fatalf("%v\n%s", err, again)
			}
			if diff := cmp.Diff(man.info(), back.info(), cmpopts.EquateNaNs()); diff != "" {
				t.Fatal(diff)
			}
			for _, e := range man.Tensors {
				if dir := filepath.Dir(objectPath(e.SHA256)); !strings.HasPrefix(dir, objectsDir+"/") || strings.Contains(dir, "..") {
					t.Fatalf("%q leads to %s", e.SHA256, dir)
				}
			}
		}
	})
}
