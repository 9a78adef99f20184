package backend_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
)

// nowhere makes sure that no plugin of this machine is found.
var nowhere = []string{filepath.Join("testdata", "no-such-directory")}

// product runs a small graph and checks its value: the back end computes.
func product(t *testing.T, b compute.Backend) {
	t.Helper()
	exec, err := graph.NewExec(b, func(x, y *graph.Node) *graph.Node { return graph.Mul(x, y) })
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Call([]float32{1, 2, 3}, []float32{4, 5, 6})
	if err != nil {
		t.Fatal(err)
	}
	got := out[0].Value().([]float32)
	for i, want := range []float32{4, 10, 18} {
		if got[i] != want {
			t.Errorf("product[%d] = %v, want %v", i, got[i], want)
		}
	}
}

func TestOpenGo(t *testing.T) {
	b, info, err := backend.Open(backend.Go, backend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	if info.Name != backend.Go || info.Plugin != "" || len(info.Devices) != 1 || info.SIMD == "" {
		t.Errorf("info = %+v", info)
	}
	product(t, b)
}

func TestOpenAutoWithoutPlugin(t *testing.T) {
	b, info, err := backend.Open(backend.Auto, backend.Options{Dirs: nowhere})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	if info.Name != backend.Go || !strings.Contains(info.Chosen, "no PJRT plugin") {
		t.Errorf("info = %+v, want the go back end and the reason", info)
	}
}

func TestOpenUnknownName(t *testing.T) {
	_, _, err := backend.Open("tpu", backend.Options{})
	if err == nil || !strings.Contains(err.Error(), `"tpu"`) || !strings.Contains(err.Error(), "xla:cpu") {
		t.Errorf("error = %v, want the name and the names there are", err)
	}
}

func TestOpenWithoutPlugin(t *testing.T) {
	for _, name := range []string{backend.XLACPU, backend.XLACUDA} {
		_, _, err := backend.Open(name, backend.Options{Dirs: nowhere})
		if !errors.Is(err, backend.ErrNoPlugin) || !strings.Contains(err.Error(), name) {
			t.Errorf("Open(%s) = %v, want ErrNoPlugin", name, err)
		}
	}
}

// TestGoParallelProducts runs more independent large products than the default
// worker pool survives: with its limit this graph never ends.
func TestGoParallelProducts(t *testing.T) {
	b, _, err := backend.Open(backend.Go, backend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	const size = 512
	branches := 4 * runtime.GOMAXPROCS(0)
	run, err := graph.NewExec(b, func(x *graph.Node) *graph.Node {
		var sum *graph.Node
		for i := range branches {
			y := graph.ReduceAllSum(graph.Dot(x, graph.MulScalar(x, float32(i+1))).Product())
			if sum == nil {
				sum = y
				continue
			}
			sum = graph.Add(sum, y)
		}
		return sum
	})
	if err != nil {
		t.Fatal(err)
	}
	x := make([][]float32, size)
	for i := range x {
		x[i] = make([]float32, size)
		x[i][i] = 1
	}
	done := make(chan error, 1)
	var got float32
	go func() {
		out, err := run.Call(x)
		if err == nil {
			got = out[0].Value().(float32)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
		if want := float32(size * branches * (branches + 1) / 2); got != want {
			t.Errorf("sum = %v, want %v", got, want)
		}
	case <-time.After(5 * time.Minute):
		t.Fatalf("%d independent products did not end in five minutes", branches)
	}
}

// TestQuiet opens the Go back end in a child process: it writes nothing, for
// standard output carries results.
func TestQuiet(t *testing.T) {
	const child = "MES_TEST_QUIET_CHILD"
	if os.Getenv(child) != "" {
		b, _, err := backend.Open(backend.Go, backend.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b.Finalize()
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestQuiet$")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || len(out) != 0 {
		t.Errorf("opening the Go back end printed %q (%v), want nothing", out, err)
	}
}
