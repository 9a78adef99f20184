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
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/internal/testkit/oracle"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// oracleTolerance bounds |graph - oracle| / max(1, |oracle|). The graphs compute in
// f32 (unit roundoff 6e-8). The largest error comes from Mamba-2's chunked form: its
// decays are exponentials of differences of sums, which reach 1000 in these blocks
// (delta up to 4, A to 7, 40 tokens), and 1000·6e-8 enters the decay between
// neighbours; the norms enlarge it. The steps stay within a tenth. A wrong term shows
// as 1e-2 and more.
const oracleTolerance = 2e-4

// layer is one random block and its weights.
type layer struct {
	cfg     mamba.Config
	specs   []mamba.TensorSpec
	weights map[string][]float64 // values that f32 holds exactly
}

// randomLayer draws sizes, switches and weights of a block.
func randomLayer(kind mamba.Kind, rng *rand.Rand) *layer {
	between := func(low, high int) int { return low + rng.IntN(high-low+1) }
	coin := func() bool { return rng.IntN(2) == 0 }
	c := mamba.Config{Kind: kind, VocabSize: 11, DModel: between(3, 9), NLayer: 1, DState: between(1, 5), DConv: between(2, 5),
		UseBias: coin(), UseConvBias: coin(), NormEps: []float64{1e-3, 1e-1}[rng.IntN(2)], MixerNormEps: 1e-2}
	if kind == mamba.Mamba2 {
		c.NGroups, c.HeadDim = between(1, 3), between(1, 4)
		c.NHeads = c.NGroups * between(1, 3)
		c.DInnerSize, c.ChunkSize = c.NHeads*c.HeadDim, 8
		c.RMSNorm, c.NormBeforeGate = rng.IntN(4) > 0, coin()
		c.NormGroupSize = []int{0, c.DInnerSize / c.NGroups}[rng.IntN(2)]
		c.TimeStepLimit = [][2]float64{{0, math.Inf(1)}, {0.1, 0.8}}[rng.IntN(2)]
	} else {
		c.DInnerSize, c.DTRank = between(3, 12), between(1, 4)
	}
	return newLayer(c, rng)
}

// newLayer draws a block's weights: large enough that every part matters, decay
// rates between 1 and 8, steps between 0.02 and 1.5.
func newLayer(c mamba.Config, rng *rand.Rand) *layer {
	l := &layer{cfg: c, specs: c.LayerTensors(), weights: map[string][]float64{}}
	for _, spec := range l.specs {
		values := make([]float64, spec.Elements())
		for i := range values {
			v := 0.6 * rng.NormFloat64()
			switch spec.Name {
			case "mixer.A_log":
				v = 2 * rng.Float64()
			case "mixer.dt_bias", "mixer.dt_proj.bias":
				v = -3 + 3*rng.Float64()
			case "norm.weight", "mixer.norm.weight", "mixer.D":
				v++
			}
			values[i] = float64(float32(v))
		}
		l.weights[spec.Name] = values
	}
	return l
}

func (l *layer) get(name string) []float64 { return l.weights[name] }

// randoms draws n values that f32 holds exactly.
func randoms(rng *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = float64(float32(rng.NormFloat64()))
	}
	return x
}

// run is the oracle over x [T·d] from a state in the graphs' layout, both for one
// sequence. Returns the outputs and the state after them, in the same layout.
func (l *layer) run(x, conv, ssm []float64) (y, convNext, ssmNext []float64) {
	c := l.cfg
	s := oracle.NewState(c)
	channels := c.ConvDim()
	for k := range s.Conv {
		copy(s.Conv[k], conv[k*channels:(k+1)*channels])
	}
	for i := range s.SSM {
		for n := range s.SSM[i] {
			s.SSM[i][n] = ssm[l.place(i, n)]
		}
	}
	for t := 0; t < len(x); t += c.DModel {
		y = append(y, oracle.Block(c, l.get, x[t:t+c.DModel], s)...)
	}
	for _, row := range s.Conv {
		convNext = append(convNext, row...)
	}
	ssmNext = make([]float64, len(ssm))
	for i := range s.SSM {
		for n, v := range s.SSM[i] {
			ssmNext[l.place(i, n)] = v
		}
	}
	return y, convNext, ssmNext
}

// place is where channel i's n-th state lies in [N, di], or [G, di/G, N].
func (l *layer) place(i, n int) int {
	if l.cfg.Kind == mamba.Mamba2 {
		return i*l.cfg.DState + n
	}
	return n*l.cfg.DInner() + i
}

// batch is a block's input: x [B, T, d] and states for B sequences. mask and length
// are nil and 0 where there is no padding.
type batch struct {
	B, T         int
	x, conv, ssm []float64
	mask         []float64
	length       int
}

// states appends a batch's states: zero, or random.
func (l *layer) states(b *batch, rng *rand.Rand) {
	conv, ssm := l.cfg.StateShapes(b.B)
	b.conv, b.ssm = make([]float64, conv.Size()), make([]float64, ssm.Size())
	if rng != nil {
		b.conv, b.ssm = randoms(rng, len(b.conv)), randoms(rng, len(b.ssm))
	}
}

// row cuts sequence i of B out of values.
func row(values []float64, i, B int) []float64 { n := len(values) / B; return values[i*n : (i+1)*n] }

// check compares a graph's results on a batch with the oracle's on each sequence
// without its padding, and returns the worst error.
func (l *layer) check(t *testing.T, what string, b *batch, got [3][]float64) {
	t.Helper()
	d := l.cfg.DModel
	for i := range b.B {
		x, y := row(b.x, i, b.B), row(got[0], i, b.B)
		if b.mask != nil {
			mask := row(b.mask, i, b.B)
			x, y = kept(x, mask, d), kept(y, mask, d)
		}
		want, conv, ssm := l.run(x, row(b.conv, i, b.B), row(b.ssm, i, b.B))
		for _, part := range []struct {
			name      string
			got, want []float64
		}{{"output", y, want}, {"convolution state", row(got[1], i, b.B), conv}, {"state", row(got[2], i, b.B), ssm}} {
			if e := relative(part.got, part.want); !(e <= oracleTolerance) {
				t.Errorf("%s, sequence %d of %d, T=%d: %s differs by %.2g\n%+v", what, i, b.B, b.T, part.name, e, l.cfg)
			}
		}
	}
}

// kept drops the positions of x [T·d] that mask [T] clears.
func kept(x, mask []float64, d int) []float64 {
	var out []float64
	for t, m := range mask {
		if m != 0 {
			out = append(out, x[t*d:(t+1)*d]...)
		}
	}
	return out
}

// relative returns the largest |got-want| / max(1, |want|); infinity on NaN.
func relative(got, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	worst := 0.0
	for i, w := range want {
		e := math.Abs(got[i]-w) / max(1, math.Abs(w))
		if math.IsNaN(e) {
			return math.Inf(1)
		}
		worst = max(worst, e)
	}
	return worst
}

// block is a compiled block; the weights are inputs.
type block struct {
	l      *layer
	masked bool
	exec   *Exec
}

// compile builds the block with inputs x, conv, ssm, (mask, length,) weights.
func (l *layer) compile(t *testing.T, b compute.Backend, form mamba.Scan, masked bool) *block {
	t.Helper()
	c := l.cfg
	c.ScanForm = form
	exec, err := NewExec(b, func(in []*Node) []*Node {
		span, rest := mamba.Span{}, in[3:]
		if masked {
			span, rest = mamba.Span{Mask: in[3], Length: in[4]}, in[5:]
		}
		y, s := c.Layers(l.named(rest), in[0], 0, 1, []mamba.State{{Conv: in[1], SSM: in[2]}}, span)
		return []*Node{y, s[0].Conv, s[0].SSM}
	})
	if err != nil {
		t.Fatal(err)
	}
	return &block{l, masked, exec}
}

// named gives the nodes of the layer's tensors by their names in a layer, and in a model
// of one.
func (l *layer) named(nodes []*Node) mamba.Weights {
	return func(name string) *Node {
		for i, spec := range l.specs {
			if strings.TrimPrefix(name, "layers.0.") == spec.Name {
				return nodes[i]
			}
		}
		panic("no tensor " + name)
	}
}

// run computes a batch.
func (k *block) run(t *testing.T, b *batch) [3][]float64 {
	t.Helper()
	out, err := k.exec.Call(k.l.inputs(b, k.masked)...)
	if err != nil {
		t.Fatal(err)
	}
	var got [3][]float64
	for i := range got {
		got[i] = oracle.Float64s(tensors.MustCopyFlatData[float32](out[i]))
	}
	return got
}

// inputs are the arguments of a compiled block.
func (l *layer) inputs(b *batch, masked bool) []any {
	conv, ssm := l.cfg.StateShapes(b.B)
	in := []any{tensor(b.x, b.B, b.T, l.cfg.DModel), tensor(b.conv, conv.Dimensions...), tensor(b.ssm, ssm.Dimensions...)}
	if masked {
		in = append(in, tensor(b.mask, b.B, b.T), int32(b.length))
	}
	for _, spec := range l.specs {
		in = append(in, tensor(l.weights[spec.Name], spec.Shape...))
	}
	return in
}

func tensor(values []float64, shape ...int) *tensors.Tensor {
	flat := make([]float32, len(values))
	for i, v := range values {
		flat[i] = float32(v)
	}
	return tensors.FromFlatDataAndDimensions(flat, shape...)
}

// slow reports whether compiling on the back end takes seconds, so that a test runs
// fewer graphs there.
func slow(t *testing.T, b compute.Backend) bool { return b != testkit.Backend(t, backend.Go) }

// scanForms lists the forms that a kind of block has on a back end. The default is
// a form of its own where there are kernels.
func scanForms(b compute.Backend, kind mamba.Kind) []mamba.Scan {
	forms := []mamba.Scan{mamba.ScanAssociative}
	if kind != mamba.Mamba2 {
		forms = append(forms, mamba.ScanSequential)
	}
	if backend.HasKernels(b) {
		forms = append(forms, mamba.ScanDefault)
	}
	return forms
}

// TestScanStepOracle compares whole sequences, padded ones and single steps of
// random blocks with the oracle. Compiling dominates on XLA, which therefore sees
// fewer blocks.
func TestScanStepOracle(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		blocks := 40
		if slow(t, b) {
			blocks = 2
		}
		for _, kind := range []mamba.Kind{mamba.Mamba1, mamba.Falcon, mamba.Mamba2} {
			for seed := range blocks {
				t.Run(fmt.Sprintf("%s-%d", kind, seed), func(t *testing.T) {
					rng := rand.New(rand.NewPCG(uint64(seed), uint64(len(kind))))
					checkBlock(t, b, randomLayer(kind, rng), 1+rng.IntN(40), rng)
				})
			}
		}
	})
}

// TestLayersKernel takes single texts token by token, which a kernel does for all layers at once.
func TestLayersKernel(t *testing.T) {
	b := testkit.Backend(t, backend.XLACPU)
	var all []mamba.Config
	for _, kind := range []mamba.Kind{mamba.Mamba1, mamba.Falcon} {
		for _, sizes := range [][5]int{{4, 3, 1, 2, 1}, {37, 53, 5, 3, 7}, {64, 96, 16, 4, 20}} {
			all = append(all, mamba.Config{Kind: kind, DModel: sizes[0], DInnerSize: sizes[1], DState: sizes[2], DConv: sizes[3], DTRank: sizes[4]})
		}
	}
	for _, sizes := range [][6]int{{5, 3, 1, 3, 3, 2}, {36, 60, 12, 6, 2, 3}, {64, 128, 32, 4, 1, 4}, {37, 96, 5, 6, 3, 5}} {
		all = append(all, mamba.Config{Kind: mamba.Mamba2, DModel: sizes[0], DInnerSize: sizes[1], DState: sizes[2], NHeads: sizes[3],
			HeadDim: sizes[1] / sizes[3], NGroups: sizes[4], DConv: sizes[5], TimeStepLimit: [2]float64{0, math.Inf(1)}, RMSNorm: true})
	}
	last := len(all) - 1
	all[last].RMSNorm, all[last].TimeStepLimit = false, [2]float64{0.1, 0.8}
	all[last-1].NormBeforeGate = true
	all[last-2].NormGroupSize = 30
	for i, c := range all {
		c.VocabSize, c.NLayer, c.UseConvBias, c.NormEps, c.MixerNormEps = 11, 1, c.DModel%2 == 0, 1e-3, 1e-2
		t.Run(fmt.Sprint(c.Kind, i), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(c.DModel), 2))
			l := newLayer(c, rng)
			for _, spec := range l.specs { // as wide layers have them, lest f32's own rounding shows
				if strings.HasSuffix(spec.Name, "proj.weight") {
					for i := range l.weights[spec.Name] {
						l.weights[spec.Name][i] = float64(float32(l.weights[spec.Name][i] / math.Sqrt(float64(spec.Shape[1]))))
					}
				}
			}
			in := &batch{B: 1, T: 7, x: randoms(rng, 7*c.DModel)}
			l.states(in, rng)
			l.checkSteps(t, b, in)
		})
	}
}

// TestScanOracleLong crosses the borders of the chunks that scans are cut into.
func TestScanOracleLong(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		lengths := []int{64, 65, 130}
		if slow(t, b) {
			lengths = []int{130}
		}
		for _, kind := range []mamba.Kind{mamba.Mamba1, mamba.Mamba2} {
			for _, T := range lengths {
				rng := rand.New(rand.NewPCG(uint64(T), 1))
				l := randomLayer(kind, rng)
				in := &batch{B: 1, T: T, x: randoms(rng, T*l.cfg.DModel)}
				l.states(in, rng)
				for _, form := range scanForms(b, kind) {
					l.check(t, fmt.Sprint(kind, " form ", form), in, l.compile(t, b, form, false).run(t, in))
				}
			}
		}
	})
}

// TestForwardGPU: what is built for a GPU gives the same values, on rows enough for
// products in parts (T = 130) and on sequences shorter than the convolution. GoMLX's
// own back end rounds a product of bf16 to bf16, and so cannot show it.
func TestForwardGPU(t *testing.T) {
	b := testkit.Backend(t, backend.XLACPU)
	for _, T := range []int{1, 2, 130} {
		rng := rand.New(rand.NewPCG(uint64(T), 2))
		l := randomLayer(mamba.Mamba2, rng)
		l.cfg.ForwardGPU = true
		const B = 2
		whole := &batch{B: B, T: T, x: randoms(rng, B*T*l.cfg.DModel)}
		l.states(whole, rng)
		l.check(t, "whole", whole, l.compile(t, b, mamba.ScanDefault, false).run(t, whole))
		masked := l.compile(t, b, mamba.ScanDefault, true)
		for _, in := range l.padded(B, T, rng) {
			l.check(t, "padded", in, masked.run(t, in))
		}
	}
}

// checkBlock compares one block on sequences of T tokens.
func checkBlock(t *testing.T, b compute.Backend, l *layer, T int, rng *rand.Rand) {
	const B = 2
	whole := &batch{B: B, T: T, x: randoms(rng, B*T*l.cfg.DModel)}
	l.states(whole, rng)
	for _, form := range scanForms(b, l.cfg.Kind) {
		l.check(t, fmt.Sprint("whole, form ", form), whole, l.compile(t, b, form, false).run(t, whole))
		masked := l.compile(t, b, form, true)
		for _, in := range l.padded(B, T, rng) {
			l.check(t, fmt.Sprint("padded, form ", form), in, masked.run(t, in))
		}
	}
	l.checkSteps(t, b, whole)
}

// checkSteps takes a batch one token at a time, handing the states on.
func (l *layer) checkSteps(t *testing.T, b compute.Backend, whole *batch) {
	step := l.compile(t, b, mamba.ScanDefault, false)
	B, T, d := whole.B, whole.T, l.cfg.DModel
	got := [3][]float64{make([]float64, len(whole.x)), whole.conv, whole.ssm}
	for i := range T {
		in := &batch{B: B, T: 1, conv: got[1], ssm: got[2]}
		for r := range B {
			in.x = append(in.x, whole.x[(r*T+i)*d:(r*T+i+1)*d]...)
		}
		out := step.run(t, in)
		for r := range B {
			copy(got[0][(r*T+i)*d:], row(out[0], r, B))
		}
		got[1], got[2] = out[1], out[2]
	}
	l.check(t, "steps", whole, got)
}

// padded makes batches with padding: on the left of sequence 1, where states are
// zero as before the first token; at the end of all sequences; and both. Padding
// holds large values, so that none of it can leak unseen.
func (l *layer) padded(B, T int, rng *rand.Rand) []*batch {
	left, length := rng.IntN(T), 1+rng.IntN(T)
	both := left + 1 + rng.IntN(T-left)
	var all []*batch
	for _, p := range []struct{ left, length int }{{left, T}, {0, length}, {left, both}} {
		in := &batch{B: B, T: T, x: randoms(rng, B*T*l.cfg.DModel), mask: make([]float64, B*T), length: p.length}
		if p.left > 0 {
			l.states(in, nil)
		} else {
			l.states(in, rng)
		}
		for r := range B {
			for t := range T {
				if t < p.length && t >= p.left*r {
					in.mask[r*T+t] = 1
					continue
				}
				for i := range l.cfg.DModel {
					in.x[(r*T+t)*l.cfg.DModel+i] *= 1e3
				}
			}
		}
		all = append(all, in)
	}
	return all
}
