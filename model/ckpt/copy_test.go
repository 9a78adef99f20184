package ckpt

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCopy: a copy holds the newest checkpoint alone, is the same each time, and a run
// goes on from it. Files lists all of it.
func TestCopy(t *testing.T) {
	m := opened(t, Config{Dir: filepath.Join(t.TempDir(), "checkpoints")})
	dir := t.TempDir()
	if _, err := m.Copy(filepath.Join(dir, "none")); !errors.Is(err, ErrNone) {
		t.Errorf("a copy of nothing: %v", err)
	}
	save(t, m, snapshot(1))
	save(t, m, snapshot(2))
	for _, name := range []string{"a", "b"} {
		info, err := m.Copy(filepath.Join(dir, name))
		must(t, err)
		if info.Step != 2 {
			t.Errorf("copied step %d", info.Step)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "a", "steps", "2.json"))
	must(t, err)
	again, err := os.ReadFile(filepath.Join(dir, "b", "steps", "2.json"))
	must(t, err)
	if string(data) != string(again) {
		t.Error("two copies differ")
	}
	files, err := Files(data)
	must(t, err)
	there := slices.Sorted(maps.Keys(tree(t, filepath.Join(dir, "a"))))
	if slices.Sort(files); !slices.Equal(files, there) {
		t.Errorf("Files %v, in the folder %v", files, there)
	}

	copied := opened(t, Config{Dir: filepath.Join(dir, "a")})
	s, err := copied.Last()
	must(t, err)
	same(t, s, snapshot(2))
	save(t, copied, snapshot(3))
	if got := steps(copied); !slices.Equal(got, []int64{2, 3}) {
		t.Errorf("steps %v", got)
	}
}

// TestCopyFails: a damaged checkpoint alone, a folder that cannot be written, and a
// manifest that is none.
func TestCopyFails(t *testing.T) {
	from := filepath.Join(t.TempDir(), "checkpoints")
	m := opened(t, Config{Dir: from})
	save(t, m, snapshot(1))
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o666))
	if _, err := m.Copy(file); err == nil || !strings.Contains(err.Error(), "copy checkpoint 1 to "+file) {
		t.Errorf("a copy to a file: %v", err)
	}
	object := filepath.Join(from, objectPath(hashOf(snapshot(1).Tensors[1].Data)))
	must(t, os.WriteFile(object, make([]byte, len(snapshot(1).Tensors[1].Data)), 0o666))
	var corrupt *CorruptError
	if _, err := m.Copy(filepath.Join(t.TempDir(), "copy")); !errors.As(err, &corrupt) || corrupt.Step != 1 {
		t.Errorf("a copy of a damaged checkpoint: %v", err)
	}
	if _, err := Files([]byte(`{"sha256":"","checkpoint":{}}`)); err == nil || !strings.Contains(err.Error(), "manifest of a checkpoint") {
		t.Errorf("Files of nonsense: %v", err)
	}
}
