// Package scripts_test tests the shell functions of set-up, with a stub in
// place of the network.
package scripts_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// shell runs a script with the functions of lib.sh, dir/bin first on PATH and
// dir/work as the working folder of set-up; it gives all that was printed.
func shell(t *testing.T, dir, script string) (string, error) {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash")
	}
	cmd := exec.Command(bash, "-c", "set -euo pipefail; . ./lib.sh; work="+filepath.Join(dir, "work")+"\n"+script)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "STUB="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// write puts a file under dir.
func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// archive makes a .tar.gz with one file.
func archive(t *testing.T, name, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	tape := tar.NewWriter(zip)
	header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}
	if err := tape.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := tape.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := tape.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestReleaseAsset: an asset is used only with the sha256 that its release
// publishes.
func TestReleaseAsset(t *testing.T) {
	asset := archive(t, "lib.a", "library")
	good := fmt.Sprintf("sha256:%x", sha256.Sum256(asset))
	entry := func(name, digest string) string {
		return fmt.Sprintf(`{"name": %q, "label": "", "uploader": {"login": "x"}, "size": 1, "digest": %s, "download_count": 3}`, name, digest)
	}
	release := func(digest string) string {
		return `{"name": "v1", "assets": [` + entry("other.tar.gz", `"sha256:00"`) + ",\n" + entry("lib.tar.gz", digest) + "]}"
	}
	cases := []struct{ name, json, want string }{
		{"good", release(`"` + good + `"`), ""},
		{"wrong digest", release(`"sha256:` + strings.Repeat("0", 64) + `"`), "does not have the sha256"},
		{"no digest", release("null"), "no lib.tar.gz with a published sha256"},
		{"no asset", `{"name": "v1", "assets": []}`, "no lib.tar.gz with a published sha256"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "release.json", []byte(c.json))
			write(t, dir, "lib.tar.gz", asset)
			write(t, dir, "work/empty", nil)
			write(t, dir, "bin/curl", []byte(`#!/bin/sh
case "$*" in
*api.github.com*) cat "$STUB/release.json" ;;
*) while [ "$1" != --output ]; do shift; done; cp "$STUB/lib.tar.gz" "$2" ;;
esac
`))
			out, err := shell(t, dir, `release_asset owner/repo v1 lib.tar.gz lib.a "$STUB/got"`)
			got, _ := os.ReadFile(filepath.Join(dir, "got"))
			if c.want == "" {
				if err != nil || string(got) != "library" {
					t.Errorf("got %q, %v: %s", got, err, out)
				}
				return
			}
			if err == nil || !strings.Contains(out, c.want) || got != nil {
				t.Errorf("got %q, %v, printed %q; want refusal with %q", got, err, out, c.want)
			}
		})
	}
}

// TestMatches: a file is read again when it was written since.
func TestMatches(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "file", []byte("one"))
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("one")))
	for _, step := range []struct{ script, want string }{
		{`matches "$STUB/file" ` + sum + ` && echo yes || echo no`, "yes\n"},
		{`matches "$STUB/file" ` + sum + ` && echo yes || echo no`, "yes\n"},
		{`matches "$STUB/file" ` + strings.Repeat("0", 64) + ` && echo yes || echo no`, "no\n"},
		{`unchanged "$STUB/file" && echo yes || echo no`, "yes\n"},
		{`echo two >>"$STUB/file"; unchanged "$STUB/file" && echo yes || echo no`, "no\n"},
		{`record "$STUB/file"; unchanged "$STUB/file" && echo yes || echo no`, "yes\n"},
		{`rm "$STUB/file"; unchanged "$STUB/file" && echo yes || echo no`, "no\n"},
	} {
		if out, err := shell(t, dir, step.script); err != nil || out != step.want {
			t.Errorf("%s printed %q (%v), want %q; file %s", step.script, out, err, step.want, path)
		}
	}
}

// TestAgain: in CI a command that fails is run again, a few times.
func TestAgain(t *testing.T) {
	for _, c := range []struct{ ci, fails, want string }{
		{"true", "0", "1 ok"}, {"true", "3", "4 ok"}, {"true", "9", "4 failed"}, {"", "1", "1 failed"},
	} {
		dir := t.TempDir()
		out, err := shell(t, dir, "CI="+c.ci+" AGAIN_PAUSES='0 0 0' n=0\n"+`ask() { n=$((n + 1)); [ "$n" -gt `+c.fails+` ]; }
if again ask; then echo "$n ok"; else echo "$n failed"; fi`)
		if err != nil || !strings.HasSuffix(out, c.want+"\n") {
			t.Errorf("CI=%q, %s failures: %v, printed %q; want %q", c.ci, c.fails, err, out, c.want)
		}
	}
}
