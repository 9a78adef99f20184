package data

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestInputSum: the sum stays the same with hidden files and another time, and changes with
// a byte, a name, a file more, and the input's own name, which decides about splits.
func TestInputSum(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "texts")
	file := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	change := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	seen := map[string]string{}
	last := ""
	sum := func(what string, changed bool) {
		t.Helper()
		s, err := InputSum(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := seen[s]; ok == changed || !changed && s != last {
			t.Errorf("%s: sum %s, which was there %q", what, s, before)
		}
		seen[s], last = what, s
	}
	change(os.MkdirAll(file("train"), 0o777), os.WriteFile(file("train/a.txt"), []byte("one"), 0o666))
	sum("a text", true)
	change(os.WriteFile(file(".hidden"), []byte("two"), 0o666), os.WriteFile(file("train/a.txt"), []byte("one"), 0o666))
	sum("the same", false)
	change(os.WriteFile(file("train/a.txt"), []byte("ons"), 0o666))
	sum("another byte", true)
	change(os.Rename(file("train"), file("valid")))
	sum("another folder", true)
	change(os.WriteFile(file("b.txt"), []byte("two"), 0o666))
	sum("one more", true)
	moved := filepath.Join(filepath.Dir(dir), "moved")
	change(os.Rename(dir, moved))
	dir = moved
	sum("another name", true)
	if _, err := InputSum(t.Context(), file("none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no input: %v", err)
	}
}
