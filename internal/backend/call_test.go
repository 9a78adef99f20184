//go:build cgo && !noxla

package backend_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/kernel"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
)

// TestHasKernels: the pinned plugin takes our kernels and the go back end has none.
// An upgrade of go-xla or of the plugin that breaks the way to them fails here.
func TestHasKernels(t *testing.T) {
	if !backend.HasKernels(testkit.Backend(t, backend.XLACPU)) {
		_, info, err := backend.Open(backend.XLACPU, backend.Options{Plugin: plugin(t)})
		t.Errorf("xla:cpu has no kernels: %s (%v)", info.Kernels, err)
	}
	if backend.HasKernels(testkit.Backend(t, backend.Go)) {
		t.Error("the go back end has kernels")
	}
}

// approx allows for the rounding of x in the product.
var approx = cmpopts.EquateApprox(1e-3, 0)

// callProduct is x·wᵀ by the kernel, w in int8.
func callProduct(x, w, scale *graph.Node) *graph.Node {
	shape := shapes.Make(dtypes.Float32, x.Shape().Dimensions[0], w.Shape().Dimensions[0])
	return backend.Call(kernel.Product, []shapes.Shape{shape}, x, w, scale)[0]
}

// TestCallThreads runs one program from several goroutines, each call of which is
// shared out among XLA's threads.
func TestCallThreads(t *testing.T) {
	const rows, in, out = 2, 33, 1001
	exec, err := graph.NewExec(testkit.Backend(t, backend.XLACPU), callProduct)
	if err != nil {
		t.Fatal(err)
	}
	w, scale := make([]int8, out*in), slices.Repeat([]float32{1}, out)
	for i := range w {
		w[i] = int8(i % 7)
	}
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			x, want := make([]float32, rows*in), make([]float32, rows*out)
			for i := range x {
				x[i] = float32((i + g) % 5)
			}
			for i := range want {
				for j := range in {
					want[i] += x[i/out*in+j] * float32(w[i%out*in+j])
				}
			}
			for range 50 {
				y, err := exec.Call(tensors.FromFlatDataAndDimensions(x, rows, in), tensors.FromFlatDataAndDimensions(w, out, in), tensors.FromFlatDataAndDimensions(scale, out, 1))
				if err != nil {
					t.Error(err)
					return
				}
				if diff := cmp.Diff(want, tensors.MustCopyFlatData[float32](y[0]), approx); diff != "" {
					t.Error(diff)
					return
				}
			}
		})
	}
	wait.Wait()
}

// TestCallInLoop calls a kernel in the body of a loop, and twice on the same input.
func TestCallInLoop(t *testing.T) {
	exec, err := graph.NewExec(testkit.Backend(t, backend.XLACPU), func(x, w, scale *graph.Node) *graph.Node {
		g := x.Graph()
		state := []*graph.Node{graph.Const(g, int32(0)), x, w, scale}
		parameters := func(g *graph.Graph) []*graph.Node {
			return []*graph.Node{graph.Parameter(g, "i", state[0].Shape()), graph.Parameter(g, "x", x.Shape()), graph.Parameter(g, "w", w.Shape()), graph.Parameter(g, "scale", scale.Shape())}
		}
		out := graph.While(
			graph.NewClosure(g, func(g *graph.Graph) []*graph.Node {
				return []*graph.Node{graph.LessThan(parameters(g)[0], graph.Const(g, int32(3)))}
			}),
			graph.NewClosure(g, func(g *graph.Graph) []*graph.Node {
				p := parameters(g)
				return []*graph.Node{graph.Add(p[0], graph.Const(g, int32(1))), callProduct(p[1], p[2], p[3]), p[2], p[3]}
			}), state...)
		return graph.Add(callProduct(out[1], w, scale), callProduct(out[1], w, scale))
	})
	if err != nil {
		t.Fatal(err)
	}
	y, err := exec.Call([][]float32{{1, 2}}, [][]int8{{0, 1}, {1, 0}}, [][]float32{{1}, {1}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]float32{{2, 4}}, y[0].Value(), approx); diff != "" {
		t.Error(diff)
	}
}

// TestCallRefuses: a kernel that is given shapes that do not fit says so, and so
// does a call of one that does not exist.
func TestCallRefuses(t *testing.T) {
	b := testkit.Backend(t, backend.XLACPU)
	for name, test := range map[string]struct {
		target, want string
		w            [][]float32
	}{
		"shapes": {kernel.Product, "product: wrong shapes", [][]float32{{1, 2, 3}}},
		"scan":   {kernel.Scan1, "scan1: wrong shapes", [][]float32{{1, 2}}},
		"layers": {kernel.Layers2, "layers: wrong shapes", [][]float32{{1, 2}}},
		"name":   {"mes.none", "mes.none", [][]float32{{1, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			exec, err := graph.NewExec(b, func(x, w *graph.Node) *graph.Node {
				return backend.Call(test.target, []shapes.Shape{shapes.Make(dtypes.Float32, 1, 1)}, x, w)[0]
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = exec.Call([][]float32{{1, 2}}, test.w); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
