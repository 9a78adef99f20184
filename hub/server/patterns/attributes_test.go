package patterns

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var attributeFiles = []string{
	"*.bin filter=lfs diff=lfs merge=lfs -text\n", "saved_model/**/* filter=lfs\n", "*.bin filter=lfs\nsmall.bin -filter\n", "/top.txt filter=lfs\n",
	"a/*.txt filter=lfs\n", "**/deep.txt filter=lfs\n", "*tfevents* filter=lfs\n", "[ab]?.x filter=lfs\n", "[!ab].x filter=lfs\n", "dir/** filter=lfs\n",
	"# comment\n*.c text\n*.c filter=lfs\n*.c !filter\n", "a/**/b filter=lfs\n", "dir/ filter=lfs\n", "*.tar.* filter=lfs\n", "*.h filter=other\n", "a*b*c filter=lfs\n", "**/a/** filter=lfs\n",
}

var attributePaths = []string{
	"x.bin", "d/x.bin", "small.bin", "d/small.bin", "saved_model/a", "saved_model/a/b/c", "top.txt", "d/top.txt", "a/1.txt", "a/b/1.txt", "deep.txt", "x/deep.txt",
	"x/y/deep.txt", "events.tfevents.1", "a1.x", "c.x", "a.x", "dir/a", "dir/a/b", "dir", "m.c", "a/b", "a/x/b", "a/x/y/b", "x.tar.gz", "x.tar", "h.h", "abc", "axxbyyc", "ab", "q/a/r", "q/a",
}

// TestAttributes compares with git itself.
func TestAttributes(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("needs git")
	}
	for _, text := range attributeFiles {
		dir := t.TempDir()
		if out, err := exec.Command(git, "init", "-q", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		if err := os.WriteFile(filepath.Join(dir, ".gitattributes"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(git, append([]string{"-C", dir, "check-attr", "filter", "--"}, attributePaths...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		a, err := ParseAttributes([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			if want := strings.HasSuffix(line, ": filter: lfs"); large(t, a, attributePaths[i]) != want {
				t.Errorf("%q: %s is large: %v, git says %v", text, attributePaths[i], !want, want)
			}
		}
	}
}

func large(t *testing.T, a *Attributes, path string) bool {
	t.Helper()
	is, err := a.LFS(path)
	if err != nil {
		t.Fatal(err)
	}
	return is
}

// FuzzAttributes: whatever is asked, it is answered or refused soon.
func FuzzAttributes(f *testing.F) {
	for i, text := range attributeFiles {
		f.Add([]byte(text), attributePaths[i])
	}
	f.Add([]byte(strings.Repeat("**/", 80)+" filter=lfs\n"), strings.Repeat("a/", 200))
	for _, rule := range hostile {
		f.Add([]byte(strings.Repeat(rule+" filter=lfs\n", 1000)), hostilePath)
	}
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		a, err := ParseAttributes(text)
		if err == nil {
			a.left /= 10
		}
		soon(t, path, err, func() (bool, error) { return a.LFS(path) })
	})
}
