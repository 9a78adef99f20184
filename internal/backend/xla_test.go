//go:build cgo && !noxla

package backend_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
)

// plugin gives the CPU plugin that setup installed.
func plugin(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", ".deps", "pjrt", backend.CPUPluginFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no CPU plugin, run scripts/setup.sh: %v", err)
		}
		t.Skipf("no CPU plugin, run scripts/setup.sh: %v", err)
	}
	return path
}

func TestOpenXLACPU(t *testing.T) {
	path := plugin(t)
	for name, opts := range map[string]backend.Options{
		"file":      {Plugin: path},
		"directory": {Plugin: filepath.Dir(path)},
		"search":    {Dirs: []string{nowhere[0], filepath.Dir(path)}},
	} {
		t.Run(name, func(t *testing.T) {
			b, info, err := backend.Open(backend.XLACPU, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Finalize()
			if info.Plugin != path || info.PluginVersion == "" || len(info.Devices) == 0 {
				t.Errorf("info = %+v, want plugin %s", info, path)
			}
			product(t, b)
		})
	}
}

func TestOpenAuto(t *testing.T) {
	t.Run("plugin", func(t *testing.T) {
		b, info, err := backend.Open(backend.Auto, backend.Options{Plugin: plugin(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Finalize()
		if info.Name != backend.XLACPU {
			t.Errorf("name = %s, want %s", info.Name, backend.XLACPU)
		}
	})
	t.Run("no GPU", func(t *testing.T) {
		cuda := filepath.Join(t.TempDir(), "xla_cuda_plugin.so")
		b, info, err := backend.Open(backend.Auto, backend.Options{CUDAPlugin: cuda, Dirs: nowhere})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Finalize()
		if info.Name != backend.Go || !strings.Contains(info.Chosen, cuda) {
			t.Errorf("info = %+v, want the go back end and the reason with %s", info, cuda)
		}
	})
}

// TestOpenBadPlugin: each bad file gives one sentence that names the file, and
// "auto" reports a plugin that was named rather than passing it over.
func TestOpenBadPlugin(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	whole, err := os.ReadFile(otherLibrary(t))
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(whole)
	foreign[18], foreign[19] = 0x28, 0 // e_machine: 32-bit ARM
	cases := []struct{ name, path, want string }{
		{"garbage", write("garbage.so", bytes.Repeat([]byte("garbage "), 100)), "not a complete shared library"},
		{"empty", write("empty.so", nil), "not a complete shared library"},
		{"truncated", write("truncated.so", whole[:len(whole)/2]), "not a complete shared library"},
		{"no entry point", write("other.so", whole), "exports no GetPjrtApi"},
		{"foreign", write("foreign.so", foreign), "built for EM_ARM"},
		{"missing", filepath.Join(dir, "missing.so"), "no such file"},
		{"comma", write("a,b.so", whole), "comma"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range []string{backend.XLACPU, backend.Auto} {
				_, _, err := backend.Open(name, backend.Options{Plugin: c.path})
				if err == nil || !strings.Contains(err.Error(), c.path) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("Open(%s) = %v, want %q and the file %s", name, err, c.want, c.path)
				}
				if err != nil && strings.Contains(err.Error(), "\n") {
					t.Errorf("Open(%s) = %q, want one line", name, err)
				}
			}
		})
	}
}

// otherLibrary builds a shared library that is no PJRT plugin.
func otherLibrary(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("shared libraries are checked on Linux only")
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler")
	}
	source := filepath.Join(t.TempDir(), "other.c")
	if err := os.WriteFile(source, []byte("int other(void) { return 1; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	library := strings.TrimSuffix(source, ".c") + ".so"
	if out, err := exec.Command(cc, "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return library
}
