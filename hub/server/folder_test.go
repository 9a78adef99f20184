package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub/server"
)

// TestForeignFolder: a hub is founded in a new or empty folder, never among other files.
func TestForeignFolder(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.New(server.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "main.go") {
		t.Fatalf("a folder with other files: %v, want a refusal that names main.go", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the refused folder holds %v now", entries)
	}
	if err := os.Rename(source, filepath.Join(dir, "lost+found")); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"founded", "opened again"} {
		s, err := server.New(server.Config{Dir: dir})
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
