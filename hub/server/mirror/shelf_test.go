package mirror

import (
	"os"
	"path/filepath"
	"testing"
)

// TestShelf never removes a file that is in use, promises no more than there is, and
// counts right whatever the order of holding, dropping and replacing.
func TestShelf(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := openShelf(dir, 30, ".")
	if err != nil {
		t.Fatal(err)
	}
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	}
	a, c := s.hold("a"), s.hold("c")
	if s.promise(11) {
		t.Error("promised more than what is not in use")
	}
	if !exists("b") {
		t.Error("removed a file in vain")
	}
	if !s.promise(10) || exists("b") || !exists("a") || !exists("c") {
		t.Errorf("a %v, b %v, c %v; want the files in use alone", exists("a"), exists("b"), exists("c"))
	}
	if s.promise(1) {
		t.Error("promised the same place twice")
	}
	s.fulfil(10)
	s.letGo(a)
	s.drop("c") // while in use
	if exists("c") || s.hold("c") != nil {
		t.Error("a dropped file is there")
	}
	if err := os.WriteFile(filepath.Join(dir, "c"), make([]byte, 12), 0o600); err != nil {
		t.Fatal(err)
	}
	s.add("c", 12, true)
	s.letGo(c) // the old one
	s.add("c", 11, true)
	if s.size != 21 || s.busy != 0 || s.promised != 0 {
		t.Errorf("%d bytes, %d in use, %d promised; want 21, 0, 0", s.size, s.busy, s.promised)
	}
	if !s.promise(30) || exists("a") || exists("c") || s.size != 0 {
		t.Errorf("a %v, c %v, %d bytes", exists("a"), exists("c"), s.size)
	}
}
