package program_test

import (
	"math"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/mamba-encoder-swarm/mes/internal/program"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
)

// square compiles the mean of x² over a batch of 8 rows, and its gradient by w.
func square(b compute.Backend, devices int) (*program.Program, error) {
	return program.Compile(b, "square", devices, func(g *program.Graph) []*Node {
		x := g.Input(program.Input{Name: "x", Shape: shapes.Make(dtypes.Float32, 8, 2), Split: true, Donate: true})
		w := g.Input(program.Input{Name: "w", Shape: shapes.Make(dtypes.Float32, 2)})
		if g.Get("w") != w || g.Get("v") != nil {
			panic("inputs are not found by name")
		}
		loss := ReduceAllMean(Square(Mul(x, Reshape(w, 1, 2))))
		return []*Node{loss, Gradient(loss, w)[0]}
	})
}

// TestDevices: on any number of devices each has the mean over the whole batch.
func TestDevices(t *testing.T) {
	b := testkit.Backend(t, "xla:cpu")
	for _, devices := range []int{1, 2, 4} {
		p, err := square(b, devices)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Finalize()
		if len(p.Inputs) != 2 || p.Inputs[1].Name != "w" {
			t.Errorf("inputs %v", p.Inputs)
		}
		var args []compute.Buffer
		for d := range devices {
			rows := make([]float32, 16/devices)
			for i := range rows {
				rows[i] = float32(d*len(rows) + i)
			}
			args = append(args, buffer(t, b, d, rows, 8/devices, 2), buffer(t, b, d, []float32{1, 2}, 2))
		}
		out, err := p.Run(args)
		if err != nil {
			t.Fatal(err)
		}
		if len(out) != 2*devices {
			t.Fatalf("%d outputs for %d devices", len(out), devices)
		}
		// Σ of the even numbers below 16 squared is 560, of the odd ones 680.
		for d := range devices {
			near(t, out[2*d], (560+4*680)/16.0)
			near(t, out[2*d+1], 2*560/16.0, 2*2*680/16.0)
		}
	}
}

func buffer(t *testing.T, b compute.Backend, device int, values []float32, dims ...int) compute.Buffer {
	t.Helper()
	buffer, err := b.BufferFromFlatData(compute.DeviceNum(device), values, shapes.Make(dtypes.Float32, dims...))
	if err != nil {
		t.Fatal(err)
	}
	return buffer
}

func near(t *testing.T, b compute.Buffer, want ...float64) {
	t.Helper()
	got := make([]float32, len(want))
	if err := b.ToFlatData(got); err != nil {
		t.Fatal(err)
	}
	for i, v := range want {
		if math.Abs(float64(got[i])-v) > 1e-4 {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// TestRefused: a graph that cannot be built, and arguments that are missing, are errors.
func TestRefused(t *testing.T) {
	b := testkit.Backend(t, "go")
	if _, err := square(b, 2); err == nil || !strings.Contains(err.Error(), "compile square: ") {
		t.Errorf("two devices of one: %v", err)
	}
	_, err := program.Compile(b, "odd", 1, func(g *program.Graph) []*Node {
		x := g.Input(program.Input{Name: "x", Shape: shapes.Make(dtypes.Float32, 3)})
		return []*Node{Add(x, Const(g.Graph, []float32{1, 2}))}
	})
	if err == nil || !strings.Contains(err.Error(), "compile odd: ") {
		t.Errorf("shapes that do not fit: %v", err)
	}
	p, err := square(b, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Finalize()
	if _, err := p.Run(nil); err == nil || !strings.Contains(err.Error(), "run square: ") {
		t.Errorf("no arguments: %v", err)
	}
}
