package swarm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/internal/testkit/oracle"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// stacked gives a checkpoint's tensors as a training graph holds them.
func stacked(c Config, src memorySource) (names []string, values []any) {
	for _, spec := range c.CoreTensors() {
		names, values = append(names, spec.Name), append(values, tensors.FromFlatDataAndDimensions(src[spec.Name].values, spec.Shape...))
	}
	if c.Plain() {
		return names, values
	}
	for i, spec := range c.EncoderTensors(0) {
		var all []float32
		for e := range c.Router.NumEncoders {
			all = append(all, src[c.EncoderTensors(e)[i].Name].values...)
		}
		names = append(names, spec.Stack)
		values = append(values, tensors.FromFlatDataAndDimensions(all, append([]int{c.Router.NumEncoders}, spec.Shape...)...))
	}
	return names, values
}

// weightsBy gives nodes by their names below the backbone.
func weightsBy(names []string, nodes []*Node) mamba.Weights {
	all := map[string]*Node{}
	for i, name := range names {
		all[strings.TrimPrefix(name, "backbone.")] = nodes[i]
	}
	return func(name string) *Node {
		if n, ok := all[name]; ok {
			return n
		}
		panic(fmt.Sprintf("no tensor %q", name))
	}
}

// TestLearnEqualsOracle: the training graph computes what the float64 reference does
// token by token.
func TestLearnEqualsOracle(t *testing.T) {
	for name, tt := range map[string]struct {
		kind   mamba.Kind
		swarm  bool
		pinned bool
	}{
		"mamba2": {mamba.Mamba2, true, false}, "mamba2 with the first pinned": {mamba.Mamba2, true, true},
		"mamba": {mamba.Mamba1, true, true}, "plain mamba2": {mamba.Mamba2, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Backends(t, func(t *testing.T, b compute.Backend) {
				c := tinyPlain(tt.kind)
				if tt.swarm {
					c = tinySwarm(tt.kind)
				}
				c.Base.ScanForm = mamba.ScanAssociative
				src := lively(c, 3)
				if tt.pinned {
					src["backbone.router.bias"].values[0] = 8
				}
				const B, T = 2, 24
				rng := rand.New(rand.NewPCG(1, 1))
				ids := make([]int32, B*T)
				for i := range ids {
					ids[i] = int32(rng.IntN(c.Base.VocabSize))
				}
				names, values := stacked(c, src)
				exec, err := NewExec(b, func(nodes []*Node) []*Node {
					w := weightsBy(names, nodes[1:])
					l := c.Learn(w, nodes[0], nil, LearnConfig{Capacity: 5, PinFirst: tt.pinned})
					logits := c.Base.Head(w, func(string) *Node { return w("embeddings.weight") }, l.Hidden)
					if l.Dropped == nil {
						return []*Node{logits}
					}
					return []*Node{logits, l.Dropped}
				})
				if err != nil {
					t.Fatal(err)
				}
				out, err := exec.Call(append([]any{tensors.FromFlatDataAndDimensions(ids, B, T)}, values...)...)
				if err != nil {
					t.Fatal(err)
				}
				if len(out) > 1 {
					if dropped := tensors.ToScalar[float32](out[1]); dropped != 0 {
						t.Errorf("%v chunks dropped, want none", dropped)
					}
				}
				got := oracle.Float64s(tensors.MustCopyFlatData[float32](out[0]))
				ref := newReference(c, src)
				for i := range B {
					text := ids[i*T:][:T]
					plan := planOf(t, c, src, text, "")
					if tt.swarm && swaps(plan) == 0 {
						t.Error("no swap: the test shows nothing of the dispatch")
					}
					for at, want := range ref.run(text, plan) {
						for v, x := range want {
							if y := got[(i*T+at)*c.Base.VocabSize+v]; !(math.Abs(x-y) <= 2e-4*max(1, math.Abs(x))) {
								t.Fatalf("text %d, token %d, logit %d: %v, the reference gives %v", i, at, v, y, x)
							}
						}
					}
				}
			})
		})
	}
}

// TestLearnDrops: chunks beyond the capacity are counted, and change the result.
func TestLearnDrops(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		c := tinySwarm(mamba.Mamba2)
		src := lively(c, 3)
		for e := range 2 { // encoders 0 and 1 take all
			src["backbone.router.bias"].values[e] = 8
		}
		names, values := stacked(c, src)
		exec, err := NewExec(b, func(nodes []*Node) []*Node {
			return []*Node{c.Learn(weightsBy(names, nodes[1:]), nodes[0], nil, LearnConfig{Capacity: 1}).Dropped}
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Call(append([]any{tensors.FromFlatDataAndDimensions(make([]int32, 2*24), 2, 24)}, values...)...)
		if err != nil {
			t.Fatal(err)
		}
		// 16 chunks for 5 encoders are 4 places each; two encoders have 8 chunks each.
		if dropped := tensors.ToScalar[float32](out[0]); dropped != 8 {
			t.Errorf("%v chunks dropped, want 8", dropped)
		}
	})
}

// TestLearnable names what cannot be trained.
func TestLearnable(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"encoder_state":      func(c *Config) { c.EncoderState = Reset },
		"encoder_fusion":     func(c *Config) { c.Fusion = FuseWeights },
		"router_granularity": func(c *Config) { c.Router.Granularity = "sequence" },
	} {
		c := tinySwarm(mamba.Mamba2)
		if err := c.Learnable(); err != nil {
			t.Fatal(err)
		}
		edit(&c)
		if err := c.Learnable(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestLearnGradient compares the gradient of a weighted sum of the logits, by some
// elements of every tensor, with central differences of the float64 reference. The
// plan does not change on the way; the gates do.
func TestLearnGradient(t *testing.T) {
	for _, kind := range []mamba.Kind{mamba.Mamba2, mamba.Mamba1} {
		testkit.Backends(t, func(t *testing.T, b compute.Backend) {
			c := tinySwarm(kind)
			c.Base.ScanForm = mamba.ScanAssociative
			src := lively(c, 3)
			const T = 12
			rng := rand.New(rand.NewPCG(2, 2))
			ids := make([]int32, T)
			for i := range ids {
				ids[i] = int32(rng.IntN(c.Base.VocabSize))
			}
			coefficients := make([]float64, T*c.Base.VocabSize)
			for i := range coefficients {
				coefficients[i] = float64(float32(rng.NormFloat64()))
			}
			got := learnGradient(t, b, c, src, ids, coefficients)
			slots := planOf(t, c, src, ids, "")
			loss := func() float64 {
				plan := planOf(t, c, src, ids, "")
				for i := range plan {
					if fmt.Sprint(plan[i].slots) != fmt.Sprint(slots[i].slots) {
						t.Fatal("a difference changed the plan")
					}
				}
				sum := 0.0
				for at, logits := range newReference(c, src).run(ids, plan) {
					for v, x := range logits {
						sum += coefficients[at*c.Base.VocabSize+v] * x
					}
				}
				return sum
			}
			for _, spec := range c.Tensors() {
				if spec.Name == "backbone.router.bias" {
					continue // it has none: it counts for the choice alone
				}
				values, scale := src[spec.Name].values, 1.0
				for _, g := range got[spec.Name] {
					scale = max(scale, math.Abs(float64(g)))
				}
				for range 6 {
					i := rng.IntN(len(values))
					before := values[i]
					values[i] = before + 1e-3 // weights are f32: smaller steps are lost in their rounding
					up, above := loss(), float64(values[i])
					values[i] = before - 1e-3
					down, below := loss(), float64(values[i])
					values[i] = before
					want := (up - down) / (above - below)
					if e := math.Abs(float64(got[spec.Name][i])-want) / scale; !(e <= 2e-3) {
						t.Errorf("%s[%d]: graph %.6g, differences %.6g (%.1g of the largest, %.3g)", spec.Name, i, got[spec.Name][i], want, e, scale)
					}
				}
			}
		})
	}
}

// learnGradient is the graph's gradient by the names of a checkpoint.
func learnGradient(t *testing.T, b compute.Backend, c Config, src memorySource, ids []int32, coefficients []float64) map[string][]float32 {
	t.Helper()
	names, values := stacked(c, src)
	weights := make([]float32, len(coefficients))
	for i, v := range coefficients {
		weights[i] = float32(v)
	}
	exec, err := NewExec(b, func(nodes []*Node) []*Node {
		w := weightsBy(names, nodes[2:])
		l := c.Learn(w, nodes[0], nil, LearnConfig{Capacity: 5})
		logits := c.Base.Head(w, func(string) *Node { return w("embeddings.weight") }, l.Hidden)
		return Gradient(ReduceAllSum(Mul(logits, nodes[1])), nodes[2:]...)
	})
	if err != nil {
		t.Fatal(err)
	}
	in := []any{tensors.FromFlatDataAndDimensions(ids, 1, len(ids)), tensors.FromFlatDataAndDimensions(weights, 1, len(ids), c.Base.VocabSize)}
	out, err := exec.Call(append(in, values...)...)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]float32{}
	for i, name := range names {
		flat := tensors.MustCopyFlatData[float32](out[i])
		if rest, ok := strings.CutPrefix(name, "backbone.encoders.layers."); ok {
			size := len(flat) / c.Router.NumEncoders
			for e := range c.Router.NumEncoders {
				got[fmt.Sprintf("backbone.encoders.%d.layers.%s", e, rest)] = flat[e*size:][:size]
			}
			continue
		}
		got[name] = flat
	}
	return got
}
