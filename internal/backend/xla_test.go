//go:build cgo && !noxla

package backend_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
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

// TestOpenOtherDevice: a plugin for the CPU is not taken for one of a GPU.
func TestOpenOtherDevice(t *testing.T) {
	path := plugin(t)
	_, _, err := backend.Open(backend.XLACUDA, backend.Options{CUDAPlugin: path})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another kind of device") {
		t.Errorf("Open(%s) with a CPU plugin = %v, want an error with the file", backend.XLACUDA, err)
	}
	b, info, err := backend.Open(backend.Auto, backend.Options{CUDAPlugin: path, Plugin: path})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	if info.Name != backend.XLACPU || !strings.Contains(info.Chosen, "no GPU") {
		t.Errorf("info = %+v, want %s and why no GPU", info, backend.XLACPU)
	}
}

// TestOpenCUDA runs where MES_TEST_CUDA_PLUGIN names the plugin of a GPU: it
// opens, is preferred, and multiplies in full single precision unless told.
func TestOpenCUDA(t *testing.T) {
	path := os.Getenv("MES_TEST_CUDA_PLUGIN")
	if path == "" {
		t.Skip("no GPU to test: MES_TEST_CUDA_PLUGIN names no plugin")
	}
	for _, name := range []string{backend.XLACUDA, backend.Auto} {
		b, info, err := backend.Open(name, backend.Options{CUDAPlugin: path, Dirs: nowhere})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", info)
		if info.Name != backend.XLACUDA || info.Plugin != path || len(info.Devices) == 0 {
			t.Errorf("info = %+v, want the GPU", info)
		}
		product(t, b)
		b.Finalize()
	}
	full, rounded := dotError(t, backend.Options{CUDAPlugin: path}), dotError(t, backend.Options{CUDAPlugin: path, TF32: true})
	t.Logf("error of a product: %.2g, with TF32 %.2g", full, rounded)
	if full > 1e-5 {
		t.Errorf("error of an f32 product = %.2g, want at most 1e-5", full)
	}
}

// dotError gives the largest error of a product of two matrices on the GPU,
// against float64, divided by the largest value.
func dotError(t *testing.T, opts backend.Options) float64 {
	t.Helper()
	b, _, err := backend.Open(backend.XLACUDA, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	const n = 256
	random := rand.New(rand.NewPCG(1, 2))
	x, y := make([][]float32, n), make([][]float32, n)
	for i := range n {
		x[i], y[i] = make([]float32, n), make([]float32, n)
		for j := range n {
			x[i][j], y[i][j] = float32(random.NormFloat64()), float32(random.NormFloat64())
		}
	}
	exec, err := graph.NewExec(b, func(x, y *graph.Node) *graph.Node { return graph.Dot(x, y).Product() })
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Call(x, y)
	if err != nil {
		t.Fatal(err)
	}
	var worst, largest float64
	for i, row := range out[0].Value().([][]float32) {
		for j, got := range row {
			var want float64
			for k := range n {
				want += float64(x[i][k]) * float64(y[k][j])
			}
			worst, largest = max(worst, math.Abs(float64(got)-want)), max(largest, math.Abs(want))
		}
	}
	return worst / largest
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
