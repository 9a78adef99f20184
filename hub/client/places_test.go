package client

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestNamesThatAreOneFile: names that differ in case or accents alone are refused
// where the file system takes them for one, before anything is fetched.
func TestNamesThatAreOneFile(t *testing.T) {
	for name, files := range map[string][2]string{
		"case":               {"README.md", "readme.md"},
		"case of a folder":   {"Docs/a", "docs/a"},
		"accents":            {"caf\u00e9.txt", "cafe\u0301.txt"},
		"both":               {"CAFE\u0301.txt", "caf\u00e9.txt"},
		"file and folder":    {"Data", "data/x"},
		"special case":       {"\u212Aelvin", "kelvin"},
		"file, deep folder":  {"a/B", "a/b/c/d"},
		"not in the listing": {"a/X", "A/x"},
	} {
		h := newFake(t)
		h.put("models/acme/m", map[string]string{files[0]: "1", files[1]: "2", "other": "3"})
		for _, dir := range []string{"", t.TempDir()} {
			h.forget()
			c := h.client(nil)
			c.sameName = func(*os.Root, string, string, string) (bool, error) { return true, nil }
			_, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: dir})
			if err == nil || !strings.Contains(err.Error(), "are one name where") || h.count("GET", "/resolve/") > 0 {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: dir, Exclude: []string{files[0]}}); err != nil {
				t.Errorf("%s, without one of them: %v", name, err)
			}
		}
	}
}

// TestNamesThatAreTwoFiles: on a file system that tells them apart both arrive, and
// the trial leaves nothing behind.
func TestNamesThatAreTwoFiles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux's file systems tell all of them apart")
	}
	h := newFake(t)
	files := map[string]string{"README.md": "1", "readme.md": "2", "caf\u00e9.txt": "3", "cafe\u0301.txt": "4", "Docs/a": "5", "docs/a": "6"}
	h.put("models/acme/m", files)
	dir := t.TempDir()
	c := h.client(nil)
	for _, to := range []string{dir, ""} {
		s, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: to})
		must(t, err)
		for name, want := range files {
			if got, _ := os.ReadFile(filepath.Join(s.Dir, name)); string(got) != want {
				t.Errorf("%s is %q", name, got)
			}
		}
	}
	for _, place := range []string{filepath.Join(dir, metaDir), filepath.Join(c.cache, "models--acme--m", "blobs")} {
		if left, _ := filepath.Glob(filepath.Join(place, "*.tmp")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestNamesThatWindowsKeeps(t *testing.T) {
	for _, name := range []string{
		"CON", "nul.txt", "a/Aux", "aux.tar.gz/x", "COM1", "com¹.log", "LPT9.x", "CONIN$", "prn .txt",
		"a.", "a /b", "x/..dots.", "a:b", "file.txt:stream", "what?", "a*b", `say "x"`, "a<b", "a|b",
	} {
		if checkWindows(name) == nil {
			t.Errorf("%q would be kept", name)
		}
	}
	for _, name := range []string{"CONSOLE", "a/com", "COM10", "nula.txt", ".gitattributes", "a.b.c", "Ä ö/ß.txt", "x/.hidden"} {
		if err := checkWindows(name); err != nil {
			t.Error(err)
		}
	}
	h := newFake(t)
	h.put("models/acme/m", map[string]string{"a": "1", "aux.txt": "2"})
	c := h.client(nil)
	c.windows = true
	for _, dir := range []string{"", t.TempDir()} {
		if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: dir}); err == nil || !strings.Contains(err.Error(), `"aux.txt" is reserved on Windows`) {
			t.Error(err)
		}
		if _, err := c.Snapshot(t.Context(), repoM, "", SnapshotOptions{LocalDir: dir, Exclude: []string{"aux*"}}); err != nil {
			t.Errorf("without it: %v", err)
		}
	}
	if _, err := c.Download(t.Context(), repoM, "main", "aux.txt"); err == nil || !strings.Contains(err.Error(), "reserved") {
		t.Error(err)
	}
}
