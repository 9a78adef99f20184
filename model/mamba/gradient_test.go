package mamba_test

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

// Central differences of the float64 oracle with this step are off by about 1e-9:
// step² from the curvature, 1e-16/step from rounding.
const differenceStep = 1e-5

// gradientTolerance bounds |graph - differences| against the largest entry of the
// same tensor's gradient, or 1: the graph sums in f32 up to T·d products, each with
// a relative error of some 1e-7, which may cancel. The worst seen is a tenth of it.
const gradientTolerance = 5e-5

// gradientCases are blocks whose every tensor has a gradient that is checked.
var gradientCases = []struct {
	name string
	T    int
	cfg  mamba.Config
}{
	{"mamba", 7, mamba.Config{Kind: mamba.Mamba1, DModel: 4, DInnerSize: 6, DState: 3, DConv: 3, DTRank: 2, UseBias: true, UseConvBias: true, NormEps: 1e-5}},
	{"falcon", 6, mamba.Config{Kind: mamba.Falcon, DModel: 4, DInnerSize: 5, DState: 3, DConv: 2, DTRank: 2, NormEps: 1e-5, MixerNormEps: 1e-2}},
	{"mamba, two pieces", 67, mamba.Config{Kind: mamba.Mamba1, DModel: 2, DInnerSize: 3, DState: 2, DConv: 2, DTRank: 1, NormEps: 1e-5}},
	{"mamba2, groups", 7, mamba.Config{Kind: mamba.Mamba2, DModel: 4, DInnerSize: 8, DState: 3, DConv: 3, NGroups: 2, NHeads: 4, HeadDim: 2,
		RMSNorm: true, NormGroupSize: 4, UseBias: true, UseConvBias: true, NormEps: 1e-5, TimeStepLimit: [2]float64{0, math.Inf(1)}}},
	{"mamba2, norm first, limits", 6, mamba.Config{Kind: mamba.Mamba2, DModel: 4, DInnerSize: 6, DState: 2, DConv: 2, NGroups: 1, NHeads: 3, HeadDim: 2,
		RMSNorm: true, NormBeforeGate: true, NormEps: 1e-5, TimeStepLimit: [2]float64{0.2, 0.6}}},
	{"mamba2, two chunks", 67, mamba.Config{Kind: mamba.Mamba2, DModel: 2, DInnerSize: 4, DState: 2, DConv: 2, NGroups: 1, NHeads: 2, HeadDim: 2,
		NormEps: 1e-5, TimeStepLimit: [2]float64{0, math.Inf(1)}}},
}

// TestGradient compares GoMLX's gradient of a weighted sum of a block's outputs and
// last states, by every tensor, the input and the first states, with differences of
// the oracle.
func TestGradient(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for i, c := range gradientCases {
			if slow(t, b) && c.T > 64 {
				continue // compiling both is slow there, and the chunks are cut alike
			}
			t.Run(c.name, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(i), 7))
				l := newLayer(c.cfg, rng)
				in := &batch{B: 1, T: c.T, x: randoms(rng, c.T*c.cfg.DModel)}
				l.states(in, rng)
				coefficients := [3][]float64{randoms(rng, len(in.x)), randoms(rng, len(in.conv)), randoms(rng, len(in.ssm))}
				got := l.gradient(t, b, in, coefficients)
				want, names := l.differences(in, coefficients)
				for i, name := range names {
					scale := 1.0
					for _, v := range want[i] {
						scale = max(scale, math.Abs(v))
					}
					for j, v := range want[i] {
						if e := math.Abs(got[i][j]-v) / scale; !(e <= gradientTolerance) {
							t.Fatalf("d/d %s[%d]: graph %.7g, differences %.7g (%.1g of %.3g)", name, j, got[i][j], v, e, scale)
						}
					}
				}
			})
		}
	})
}

// gradient is the graph's: by x, conv, ssm and then each tensor.
func (l *layer) gradient(t *testing.T, b compute.Backend, in *batch, coefficients [3][]float64) [][]float64 {
	t.Helper()
	exec, err := NewExec(b, func(nodes []*Node) []*Node {
		return Gradient(l.loss(mamba.ScanAssociative, nodes, coefficients), nodes...)
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Call(l.inputs(in, false)...)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]float64
	for _, o := range out {
		all = append(all, oracle.Float64s(tensors.MustCopyFlatData[float32](o)))
	}
	return all
}

// loss is the weighted sum of a block's results; nodes are those of inputs.
func (l *layer) loss(form mamba.Scan, nodes []*Node, coefficients [3][]float64) *Node {
	c := l.cfg
	c.ScanForm = form
	y, s := c.Block(l.named(nodes[3:]), nodes[0], mamba.State{Conv: nodes[1], SSM: nodes[2]}, mamba.Span{})
	var sum *Node
	for i, n := range []*Node{y, s.Conv, s.SSM} {
		term := ReduceAllSum(Mul(n, Const(n.Graph(), tensor(coefficients[i], n.Shape().Dimensions...))))
		if i == 0 {
			sum = term
		} else {
			sum = Add(sum, term)
		}
	}
	return sum
}

// differences are the oracle's central differences of the same sum.
func (l *layer) differences(in *batch, coefficients [3][]float64) (all [][]float64, names []string) {
	loss := func() float64 {
		y, conv, ssm := l.run(in.x, in.conv, in.ssm)
		sum := 0.0
		for i, values := range [][]float64{y, conv, ssm} {
			for j, v := range values {
				sum += coefficients[i][j] * v
			}
		}
		return sum
	}
	by := func(name string, values []float64) {
		gradient := make([]float64, len(values))
		for i, v := range values {
			values[i] = v + differenceStep
			above := loss()
			values[i] = v - differenceStep
			gradient[i] = (above - loss()) / (2 * differenceStep)
			values[i] = v
		}
		all, names = append(all, gradient), append(names, name)
	}
	by("x", in.x)
	by("the convolution's state", in.conv)
	by("the state", in.ssm)
	for _, spec := range l.specs {
		by(spec.Name, l.weights[spec.Name])
	}
	return all, names
}

// The loop over time has no gradient: asking for one is an error, not a zero.
func TestGradientOfSequentialScan(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		rng := rand.New(rand.NewPCG(1, 2))
		l := newLayer(gradientCases[0].cfg, rng)
		in := &batch{B: 1, T: 5, x: randoms(rng, 5*l.cfg.DModel)}
		l.states(in, rng)
		coefficients := [3][]float64{in.x, in.conv, in.ssm}
		exec, err := NewExec(b, func(nodes []*Node) []*Node {
			return Gradient(l.loss(mamba.ScanSequential, nodes, coefficients), nodes...)
		})
		if err == nil {
			_, err = exec.Call(l.inputs(in, false)...)
		}
		if err == nil || !strings.Contains(fmt.Sprint(err), "While") {
			t.Errorf("error %v, want one that says that While has no gradient", err)
		}
	})
}
