package patterns

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var ignoreFiles = []string{
	"*.log\n", "*.log\n!keep.log\n", "build/\n", "/build\n", "/build/\n!/build/a\n", "a/b\n", "a/*.txt\n", "**/deep\n", "a/**\n", "a/**/b\n", "a/**/\n", "**\n", "**/\n",
	"*\n!*/\n!*.go\n", "# comment\n\\#file\n", "!x\n\\!x\n", "trailing   \n", "blank\\ \n", "a\r\nb\r\n", "\ufeffbom\n", "/\n//\n\n", "[ab].c\n", "[!ab].c\n", "[^ab].c\n", "[]x].c\n", "[!]x].c\n",
	"?.c\n", "a?c\n", "\\*\n", "a\\\n", "x**y\n", "*a*b*c\n", "a*\n", "*b\n", "a*b\n", "/a/b/\n", "a//b\n", "deep/*\n!deep/x\n", "[a-c]/x\n", "[\n", "ü*\n", "*.[oa]\n", "é\n!é/x\n",
	"**/a/**\n", "/**/x\n", "a/**/**/b\n", "**foo\n", "foo**\n", "***\n", "*/\n", "*/x\n", "/*\n!/a\n", "!a/b\na\n", "a/b/**\n!a/b/x\n", "\\a\\/b\n", "a/\\b\n", "[[]\n", "[*].c\n", "[a\\]].c\n", "[x[].c\n", "[!\n", "x[\n", "*[a]*.c\n", "[!a-y][.]c\n",
}

var ignorePaths = []string{
	"x.log", "d/x.log", "keep.log", "d/keep.log", "build", "build/a", "d/build", "d/build/a", "a/b", "d/a/b", "a/b/c", "a/1.txt", "a/b/1.txt", "deep", "x/deep", "x/deep/y", "a", "a/x/b", "a/x/y/b",
	"m.go", "d/m.go", "d/m.c", "#file", "x", "!x", "trailing", "blank", "blank ", "b", "bom", "a.c", "b.c", "c.c", "].c", "x.c", "abc", "a*c", "*", `a`, "xy", "x1y", "xx/yy", "axbxc", "axb", "deep/x",
	"deep/y", "b/x", "d/x", "[", "z.c", "über", "x.o", "x.a", "x.so", "é", "é/x", "foo", "afoo", "foob", "a/b/x", "a/b/y", "*.c", "top", "d/e/f/g",
}

// TestIgnore compares with git itself.
func TestIgnore(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("needs git")
	}
	dir := t.TempDir()
	if out, err := exec.Command(git, "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	for _, text := range ignoreFiles {
		if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(git, "-C", dir, "check-ignore", "-z", "--stdin", "--no-index")
		cmd.Stdin = strings.NewReader(strings.Join(ignorePaths, "\x00") + "\x00")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: none is ignored
			t.Fatalf("%v %s", err, &stderr)
		}
		out1 := strings.Split(string(out), "\x00")
		g, err := ParseIgnore([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range ignorePaths {
			got, err := g.Ignored(path)
			if want := slices.Contains(out1, path); err != nil || got != want {
				t.Errorf("%q: %s is ignored: %v %v, git says %v", text, path, got, err, want)
			}
		}
	}
}

// Patterns that take long to try, and a path to try them with.
var (
	hostile = []string{
		"**/a*a*a*a*a*a*a*a*b/**/" + strings.Repeat("**/", 40) + "x", strings.Repeat("*a", 100) + "b", strings.Repeat("?*", 120) + "b*", strings.Repeat("*/", 300) + "x",
		strings.Repeat("**/a*a*/", 60) + "b", "*" + strings.Repeat("[!b-z]", 80) + "b*", strings.Repeat("a", 1024),
	}
	hostilePath = strings.Repeat("aaaaaaaaaaaaaaaa/", 45) + strings.Repeat("a", 255)
)

// soon asks as often as one request may, and wants an answer or a refusal in time.
func soon(t *testing.T, path string, err error, ask func() (bool, error)) {
	t.Helper()
	began := time.Now()
	for range 1000 {
		if err != nil || len(path) > 1024 {
			break
		}
		_, err = ask()
	}
	if err != nil && !errors.Is(err, ErrTooMuch) {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Minute {
		t.Errorf("it took %s", took)
	}
}

// TestPatternsThatTakeLong: files whose patterns could be tried in very many ways
// cost a moment of the processor for a whole request, and the error says which file.
func TestPatternsThatTakeLong(t *testing.T) {
	refused := 0
	for _, pattern := range hostile {
		g, err := ParseIgnore([]byte(strings.Repeat(pattern+"\n", 1000)))
		if refused > 0 {
			g.left /= 10 // once is enough to see that the whole takes a moment
		}
		soon(t, hostilePath, err, func() (bool, error) {
			_, err := g.Ignored(hostilePath)
			if err != nil && strings.Contains(err.Error(), ".gitignore") {
				refused++
			}
			return false, err
		})
		a, err := ParseAttributes([]byte(strings.Repeat(pattern+" filter=lfs\n", 1000)))
		a.left /= 10
		soon(t, hostilePath, err, func() (bool, error) { return a.LFS(hostilePath) })
	}
	if refused < 3 {
		t.Errorf("%d of %d were refused", refused, len(hostile))
	}
	for name, text := range map[string]string{"many": strings.Repeat("a\n", maxRules+1), "long": strings.Repeat("a", maxPattern+1)} {
		if _, err := ParseIgnore([]byte(text)); !errors.Is(err, ErrTooMuch) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ParseAttributes([]byte(strings.ReplaceAll(text+"\n", "\n", " filter=lfs\n"))); !errors.Is(err, ErrTooMuch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOrdinaryPatternsAreTried: a thousand ordinary patterns and a thousand long paths.
func TestOrdinaryPatternsAreTried(t *testing.T) {
	text := strings.Repeat("*.pyc\n__pycache__/\n/build/\n*~\n.env\nlogs/*.log\n**/node_modules\n[Tt]humbs.db\ndoc/**/*.tmp\n!keep.*\n", maxRules/10)
	g, err := ParseIgnore([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if out, err := g.Ignored("data/part/of/a/rather/deep/folder/with-a-long-name/file-000001.parquet"); err != nil || out {
			t.Fatal(out, err)
		}
	}
}

// FuzzIgnore: whatever is asked, it is answered or refused soon.
func FuzzIgnore(f *testing.F) {
	for i, text := range ignoreFiles {
		f.Add([]byte(text), ignorePaths[i])
	}
	for _, pattern := range hostile {
		f.Add([]byte(strings.Repeat(pattern+"\n", 1000)), hostilePath)
	}
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		g, err := ParseIgnore(text)
		if err == nil {
			g.left /= 10
		}
		soon(t, path, err, func() (bool, error) { return g.Ignored(path) })
	})
}
