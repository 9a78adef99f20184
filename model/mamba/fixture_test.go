package mamba_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// tolerance of logits and states against transformers, both in f32; see
// testdata/README.md for the error that f32 itself has there.
const tolerance = 1e-4

// fixture is a checkpoint of testdata on one back end.
type fixture struct {
	cfg     mamba.Config
	weights map[string]*tensors.Tensor
	backend compute.Backend
	execs   map[string]*Exec
}

// openFixture reads a checkpoint.
func openFixture(t *testing.T, b compute.Backend, dir string) *fixture {
	t.Helper()
	p, err := hub.FromPretrained(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Config.Quantization != nil {
		t.Skip("quantised weights are tested where they are loaded, in package swarm")
	}
	f := &fixture{cfg: p.Config.Swarm.Base, weights: map[string]*tensors.Tensor{}, backend: b, execs: map[string]*Exec{}}
	// transformers has no such option for mamba2; the fixture patches it in.
	if before, ok := p.Config.Extra("norm_before_gate"); ok {
		f.cfg.NormBeforeGate = before == "true"
	}
	for _, spec := range p.Config.Swarm.Tensors() {
		_, shape, err := p.Info(spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, 4*spec.Elements())
		if err := p.Read(spec.Name, raw); err != nil {
			t.Fatal(err)
		}
		f.weights[spec.Name] = tensors.FromFlatDataAndDimensions(floats(raw), shape...)
	}
	return f
}

// get gives the weights as constants of a graph.
func (f *fixture) get(g *Graph) mamba.Weights {
	return func(name string) *Node {
		w, ok := f.weights[name]
		if !ok && name == "lm_head.weight" {
			w = f.weights["backbone.embeddings.weight"]
		} else if !ok {
			panic("no tensor " + name)
		}
		return Const(g, w)
	}
}

// result is what a run returns: logits [B, T, V], and states by layer in our
// layout, [B, K-1, C] and the state space's.
type result struct {
	logits    []float32
	conv, ssm [][]float32
}

// run computes a piece of text from a state; a nil state is the one before the
// first token. mask may be nil.
func (f *fixture) run(t *testing.T, form mamba.Scan, ids, mask *tensors.Tensor, from *result) *result {
	t.Helper()
	cfg := f.cfg
	cfg.ScanForm = form
	B := ids.Shape().Dimensions[0]
	convShape, ssmShape := cfg.StateShapes(B)
	args := []any{ids}
	if mask != nil {
		args = append(args, mask)
	}
	for l := range cfg.NLayer {
		conv, ssm := make([]float32, convShape.Size()), make([]float32, ssmShape.Size())
		if from != nil {
			conv, ssm = from.conv[l], from.ssm[l]
		}
		args = append(args, tensors.FromFlatDataAndDimensions(conv, convShape.Dimensions...), tensors.FromFlatDataAndDimensions(ssm, ssmShape.Dimensions...))
	}
	out, err := f.exec(t, cfg, mask != nil).Call(args...)
	if err != nil {
		t.Fatal(err)
	}
	r := &result{logits: tensors.MustCopyFlatData[float32](out[0])}
	for l := range cfg.NLayer {
		r.conv = append(r.conv, tensors.MustCopyFlatData[float32](out[1+2*l]))
		r.ssm = append(r.ssm, tensors.MustCopyFlatData[float32](out[2+2*l]))
	}
	return r
}

// exec returns the compiled forward pass over ids, mask and states.
func (f *fixture) exec(t *testing.T, cfg mamba.Config, masked bool) *Exec {
	t.Helper()
	key := fmt.Sprint(cfg.ScanForm, masked)
	if e, ok := f.execs[key]; ok {
		return e
	}
	e, err := NewExec(f.backend, func(nodes []*Node) []*Node {
		ids, nodes := nodes[0], nodes[1:]
		var span mamba.Span
		if masked {
			span.Mask, nodes = nodes[0], nodes[1:]
		}
		states := make([]mamba.State, cfg.NLayer)
		for l := range states {
			states[l] = mamba.State{Conv: nodes[2*l], SSM: nodes[2*l+1]}
		}
		get := f.get(ids.Graph())
		core := get.In("backbone.")
		x, next := cfg.Layers(core, cfg.Embed(core, ids), 0, cfg.NLayer, states, span)
		results := []*Node{cfg.Head(core, get, x)}
		for _, s := range next {
			results = append(results, s.Conv, s.SSM)
		}
		return results
	})
	if err != nil {
		t.Fatal(err)
	}
	f.execs[key] = e
	return e
}

// expectation is one run of transformers.
type expectation struct {
	B, T, V   int
	ids, mask []int32
	result    // logits, and states converted to our layout
	greedy    []int32
}

func (f *fixture) expectation(t *testing.T, path string) *expectation {
	t.Helper()
	file, err := safetensors.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no run %s", filepath.Base(path))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	read := func(name string) ([]byte, []int) {
		tensor, ok := file.Tensor(name)
		if !ok {
			return nil, nil
		}
		raw, err := tensor.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return raw, tensor.Shape
	}
	e := &expectation{}
	raw, shape := read("input_ids")
	e.B, e.T, e.ids = shape[0], shape[1], ints(raw)
	raw, _ = read("attention_mask")
	e.mask = ints(raw)
	raw, shape = read("logits")
	e.V, e.logits = shape[2], floats(raw)
	raw, _ = read("greedy")
	e.greedy = ints(raw)
	for l := range f.cfg.NLayer {
		raw, shape = read(fmt.Sprintf("conv_state.%d", l))
		e.conv = append(e.conv, convState(floats(raw), shape))
		raw, shape = read(fmt.Sprintf("ssm_state.%d", l))
		e.ssm = append(e.ssm, ssmState(f.cfg, floats(raw), shape))
	}
	return e
}

// convState turns transformers' [B, C, K] into the last K-1 inputs [B, K-1, C].
func convState(x []float32, shape []int) []float32 {
	B, C, K := shape[0], shape[1], shape[2]
	out := make([]float32, 0, B*(K-1)*C)
	for b := range B {
		for k := 1; k < K; k++ {
			for c := range C {
				out = append(out, x[(b*C+c)*K+k])
			}
		}
	}
	return out
}

// ssmState turns Mamba-1's [B, di, N] into [B, N, di]; Mamba-2's [B, H, P, N] is
// [B, G, di/G, N] as it is.
func ssmState(c mamba.Config, x []float32, shape []int) []float32 {
	if c.Kind == mamba.Mamba2 {
		return x
	}
	B, di, N := shape[0], shape[1], shape[2]
	out := make([]float32, 0, len(x))
	for b := range B {
		for n := range N {
			for i := range di {
				out = append(out, x[(b*di+i)*N+n])
			}
		}
	}
	return out
}

// compare reports the largest difference at positions that hold tokens.
func (e *expectation) compare(t *testing.T, got *result, states bool) {
	t.Helper()
	worst := 0.0
	for i, want := range e.logits {
		if e.mask[i/e.V] == 0 {
			continue
		}
		worst = max(worst, math.Abs(float64(want-got.logits[i])))
	}
	if !(worst <= tolerance) {
		t.Errorf("logits differ by %g", worst)
	}
	if !states {
		return
	}
	for l := range e.conv {
		if d := difference(e.conv[l], got.conv[l]); !(d <= tolerance) {
			t.Errorf("layer %d: convolution states differ by %g", l, d)
		}
		if d := difference(e.ssm[l], got.ssm[l]); !(d <= tolerance) {
			t.Errorf("layer %d: states differ by %g", l, d)
		}
	}
}

func (e *expectation) tensors() (ids, mask *tensors.Tensor) {
	m := make([]float32, len(e.mask))
	padded := false
	for i, v := range e.mask {
		m[i] = float32(v)
		padded = padded || v == 0
	}
	ids = tensors.FromFlatDataAndDimensions(e.ids, e.B, e.T)
	if padded {
		mask = tensors.FromFlatDataAndDimensions(m, e.B, e.T)
	}
	return ids, mask
}

// columns cuts tokens [from, to) of every row.
func (e *expectation) columns(from, to int) *tensors.Tensor {
	var part []int32
	for b := range e.B {
		part = append(part, e.ids[b*e.T+from:b*e.T+to]...)
	}
	return tensors.FromFlatDataAndDimensions(part, e.B, to-from)
}

// forms of the scan. The others than the default take part in the longer runs only;
// reference_test.go compares them over several of their pieces.
var forms = map[string]mamba.Scan{"default": mamba.ScanDefault, "chunked": mamba.ScanChunked, "associative": mamba.ScanAssociative}

// TestTransformers compares logits and states of every fixture with transformers.
func TestTransformers(t *testing.T) {
	forEachFixture(t, func(t *testing.T, f *fixture, dir string) {
		runs, err := filepath.Glob(filepath.Join(dir, "expected-*.safetensors"))
		if err != nil || len(runs) == 0 {
			t.Fatalf("no runs in %s: %v", dir, err)
		}
		for _, run := range runs {
			e := f.expectation(t, run)
			ids, mask := e.tensors()
			for name, form := range forms {
				if form != mamba.ScanDefault && (f.cfg.Kind == mamba.Mamba2 || e.T < 17) {
					continue
				}
				t.Run(strings.TrimSuffix(filepath.Base(run), ".safetensors")+"/"+name, func(t *testing.T) {
					e.compare(t, f.run(t, form, ids, mask, nil), true)
				})
			}
		}
	})
}

// TestSplitRuns continues a text from explicit states, in pieces of any length,
// and compares with transformers' run over the whole.
func TestSplitRuns(t *testing.T) {
	cuts := map[string][]int{"halves": {20}, "ragged": {1, 4, 5, 13, 14, 31}}
	steps := make([]int, 0, 40)
	for i := 1; i < 41; i++ {
		steps = append(steps, i)
	}
	cuts["steps"] = steps
	forEachFixture(t, func(t *testing.T, f *fixture, dir string) {
		e := f.expectation(t, filepath.Join(dir, "expected-t41.safetensors"))
		for name, cut := range cuts {
			t.Run(name, func(t *testing.T) {
				whole := &result{logits: make([]float32, len(e.logits))}
				var state *result
				for i, from := range append([]int{0}, cut...) {
					to := e.T
					if i < len(cut) {
						to = cut[i]
					}
					state = f.run(t, mamba.ScanDefault, e.columns(from, to), nil, state)
					for b := range e.B {
						n := (to - from) * e.V
						copy(whole.logits[(b*e.T+from)*e.V:], state.logits[b*n:(b+1)*n])
					}
				}
				whole.conv, whole.ssm = state.conv, state.ssm
				e.compare(t, whole, true)
			})
		}
	})
}

// TestGreedy generates from a padded batch step by step and compares the tokens
// with those that transformers generates.
func TestGreedy(t *testing.T) {
	forEachFixture(t, func(t *testing.T, f *fixture, dir string) {
		e := f.expectation(t, filepath.Join(dir, "expected-t17.safetensors"))
		steps := len(e.greedy) / e.B
		ids, mask := e.tensors()
		state := f.run(t, mamba.ScanDefault, ids, mask, nil)
		rows := e.T
		for i := range steps {
			next := make([]int32, e.B)
			for b := range e.B {
				logits := state.logits[(b*rows+rows-1)*e.V : (b+1)*rows*e.V]
				next[b] = argmax(logits)
				if want := e.greedy[b*steps+i]; next[b] != want {
					t.Fatalf("row %d, token %d: generated %d, transformers %d", b, i, next[b], want)
				}
			}
			state = f.run(t, mamba.ScanDefault, tensors.FromFlatDataAndDimensions(next, e.B, 1), nil, state)
			rows = 1
		}
	})
}

// forEachFixture runs f on every checkpoint of testdata and every back end.
func forEachFixture(t *testing.T, f func(t *testing.T, f *fixture, dir string)) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, entry := range entries {
			if !entry.IsDir() {
				continue
			}
			dir := filepath.Join("testdata", entry.Name())
			t.Run(entry.Name(), func(t *testing.T) { f(t, openFixture(t, b, dir), dir) })
		}
	})
}

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}

func difference(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range a {
		worst = max(worst, math.Abs(float64(a[i]-b[i])))
	}
	return worst
}

func floats(raw []byte) []float32 {
	out := make([]float32, len(raw)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}

func ints(raw []byte) []int32 {
	out := make([]int32, len(raw)/8)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint64(raw[8*i:]))
	}
	return out
}
