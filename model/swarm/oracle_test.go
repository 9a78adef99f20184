package swarm

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/testkit/oracle"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// decision is what runs at one token.
type decision struct {
	slots []int
	gates []float64
}

// planOf decides for every token of a text at once. Package router has an oracle of
// its own.
func planOf(t testing.TB, c Config, src memorySource, ids []int32, domain string) []decision {
	t.Helper()
	if c.Plain() {
		return make([]decision, len(ids))
	}
	r, err := router.New(c.Router, router.Weights{
		Embeddings: src["backbone.router.embeddings.weight"].values,
		Proj:       src["backbone.router.proj.weight"].values,
		Bias:       src["backbone.router.bias"].values,
	}, c.Base.VocabSize)
	if err != nil {
		t.Fatal(err)
	}
	state, err := r.Start(domain)
	if err != nil {
		t.Fatal(err)
	}
	chunks, _, err := r.Plan(state, ids)
	if err != nil {
		t.Fatal(err)
	}
	return decisions(chunks)
}

// decisions lists what chunks say, token by token.
func decisions(chunks []router.Chunk) []decision {
	var all []decision
	for _, c := range chunks {
		for range c.End - c.Start {
			all = append(all, decision{c.Slots, c.Gates})
		}
	}
	return all
}

// swaps counts the slots that change their encoder within a plan.
func swaps(plan []decision) int {
	n := 0
	for t := 1; t < len(plan); t++ {
		for i, e := range plan[t].slots {
			if plan[t-1].slots[i] != e {
				n++
			}
		}
	}
	return n
}

// reference is the swarm in float64, one token and one slot at a time.
type reference struct {
	c      Config
	values map[string][]float64
}

func newReference(c Config, src memorySource) *reference {
	r := &reference{c, map[string][]float64{}}
	for name, t := range src {
		r.values[name] = oracle.Float64s(t.values)
	}
	return r
}

// get finds a tensor of the core.
func (r *reference) get(name string) []float64 {
	v, ok := r.values[name]
	if !ok {
		panic("no tensor " + name)
	}
	return v
}

// layer gives layer l's tensors as the encoder sees them; an encoder's own tensors
// go before the core's. Several encoders are summed by their gates.
func (r *reference) layer(l int, encoders []int, gates []float64) oracle.Weights {
	return func(name string) []float64 {
		if !EncoderOwns(r.c.Base.Kind, name) || encoders == nil {
			return r.get(fmt.Sprintf("backbone.layers.%d.%s", l, name))
		}
		var sum []float64
		for i, e := range encoders {
			w := r.get(fmt.Sprintf("backbone.encoders.%d.layers.%d.%s", e, l, name))
			if sum == nil {
				sum = make([]float64, len(w))
			}
			for j, v := range w {
				sum[j] += gates[i] * v
			}
		}
		return sum
	}
}

// run reads a text under a plan and returns the logits after each token.
func (r *reference) run(ids []int32, plan []decision) [][]float64 {
	c, base := r.c, r.c.Base
	fresh := func(layers int) []*oracle.State {
		states := make([]*oracle.State, layers)
		for l := range states {
			states[l] = oracle.NewState(base)
		}
		return states
	}
	slots, decoder := make([][]*oracle.State, c.Slots()), fresh(base.NLayer-c.NumEncoderLayers)
	for s := range slots {
		slots[s] = fresh(c.NumEncoderLayers)
	}
	embedding, head := r.get("backbone.embeddings.weight"), r.values["lm_head.weight"]
	if head == nil {
		head = embedding
	}
	var all [][]float64
	for t, id := range ids {
		x := embedding[int(id)*base.DModel:][:base.DModel]
		if !c.Plain() {
			for s := range slots {
				if c.EncoderState == Reset && t > 0 && r.changed(plan[t-1], plan[t], s) {
					slots[s] = fresh(c.NumEncoderLayers)
				}
			}
			x = r.encode(x, plan[t], slots)
		}
		for i, state := range decoder {
			x = oracle.Block(base, r.layer(c.NumEncoderLayers+i, nil, nil), x, state)
		}
		all = append(all, oracle.Head(base, r.get("backbone.norm_f.weight"), head, x))
	}
	return all
}

// changed reports whether slot s runs something else than before; merged encoders
// share one slot.
func (r *reference) changed(before, now decision, s int) bool {
	if r.c.Fusion == FuseWeights {
		return !slices.Equal(before.slots, now.slots)
	}
	return before.slots[s] != now.slots[s]
}

// encode runs the active encoders over one token and fuses them.
func (r *reference) encode(x []float64, d decision, slots [][]*oracle.State) []float64 {
	outputs := make([][]float64, len(slots))
	for s, states := range slots {
		encoders, gates := []int{d.slots[s]}, []float64{1}
		if r.c.Fusion == FuseWeights {
			encoders, gates = d.slots, d.gates
		}
		outputs[s] = x
		for l, state := range states {
			outputs[s] = oracle.Block(r.c.Base, r.layer(l, encoders, gates), outputs[s], state)
		}
	}
	if r.c.Fusion == FuseWeights {
		return outputs[0]
	}
	return r.aggregate(x, d, outputs)
}

// aggregate is step 5 of the architecture: attention of the token's embedding over
// the encoders' outputs.
func (r *reference) aggregate(x []float64, d decision, outputs [][]float64) []float64 {
	n := func(x []float64) []float64 { return oracle.RMSNorm(x, nil, r.c.Base.NormEps) }
	dot := func(a, b []float64) (sum float64) {
		for i := range a {
			sum += a[i] * b[i]
		}
		return sum
	}
	query := oracle.MatVec(r.get("backbone.aggregator.q.weight"), n(x))
	weights, total := make([]float64, len(outputs)), 0.0
	for i, u := range outputs {
		key := oracle.MatVec(r.get("backbone.aggregator.k.weight"), n(u))
		score := dot(query, key)/math.Sqrt(float64(r.c.AggregatorDim)) + math.Log(d.gates[i]) +
			r.get("backbone.aggregator.beta")[d.slots[i]] + dot(r.get("backbone.aggregator.quality.weight"), n(u))
		weights[i] = math.Exp(score)
		total += weights[i]
	}
	fused := make([]float64, len(x))
	for i, u := range outputs {
		for j, v := range u {
			fused[j] += weights[i] / total * v
		}
	}
	return fused
}

// tinySwarm is a swarm of five encoders of which two run, on one of two layers.
func tinySwarm(kind mamba.Kind) Config {
	c := tinyPlain(kind)
	c.NumEncoderLayers, c.EncoderState, c.Fusion, c.AggregatorDim = 1, Handoff, FuseAttention, 5
	c.Router = router.Config{NumEncoders: 5, EncodersPerToken: 2, Granularity: router.PerChunk, ChunkLength: 6, SequenceDecision: 10,
		Dim: 4, HalfLives: []float64{2, 8}, Temperature: 0.5, Hysteresis: 0.02, DefaultEncoders: []int{0, 1},
		Domains: []string{"prose", "code", "law", "prose", "maths"}}
	return c
}

// tinyPlain is an ordinary Mamba of two layers.
func tinyPlain(kind mamba.Kind) Config {
	base := mamba.Config{Kind: kind, VocabSize: 37, DModel: 8, NLayer: 2, DState: 4, DConv: 3, Expand: 2, DTRank: 2,
		UseConvBias: true, NormEps: 1e-5, MixerNormEps: 1e-6, TieWordEmbedding: true}
	if kind == mamba.Mamba2 {
		base.NHeads, base.HeadDim, base.NGroups, base.ChunkSize, base.RMSNorm = 4, 4, 2, 8, true
		base.NormGroupSize, base.TimeStepLimit = 8, [2]float64{0, math.Inf(1)}
	}
	return Config{Base: base, Router: router.Config{NumEncoders: 1, EncodersPerToken: 1}}
}

// lively draws a model's tensors so that every one of them moves the logits:
// larger embeddings, norms and biases that are not all alike.
func lively(c Config, seed uint64) memorySource {
	src, rng := randomSource(c, seed), rand.New(rand.NewPCG(seed, 1))
	for _, name := range slices.Sorted(maps.Keys(src)) {
		for i := range src[name].values {
			v := &src[name].values[i]
			switch {
			case strings.HasSuffix(name, "backbone.embeddings.weight"), strings.HasSuffix(name, "lm_head.weight"):
				*v *= 30
			case strings.HasSuffix(name, "norm.weight"), strings.HasSuffix(name, "norm_f.weight"), strings.HasSuffix(name, ".D"):
				*v += float32(0.3 * rng.NormFloat64())
			case strings.HasSuffix(name, "router.bias"):
				*v = float32(0.02 * rng.NormFloat64())
			case strings.HasSuffix(name, "out_proj.weight"):
				*v *= 2
			}
		}
	}
	return src
}

// grownFrom gives a plain model's tensors to a swarm: every encoder is a copy. The
// router and aggregator are drawn.
func grownFrom(c Config, plain memorySource, seed uint64) memorySource {
	src := lively(c, seed)
	for name := range src {
		core := name
		if rest, ok := strings.CutPrefix(name, "backbone.encoders."); ok {
			_, rest, _ = strings.Cut(rest, ".")
			core = "backbone." + rest
		}
		if t, ok := plain[core]; ok {
			src[name] = memoryTensor{t.shape, slices.Clone(t.values)}
		}
	}
	return src
}

// text draws token ids.
func text(c Config, n int, seed uint64) []int32 {
	rng := rand.New(rand.NewPCG(seed, 2))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(rng.IntN(c.Base.VocabSize))
	}
	return ids
}

// worst returns the largest difference of two runs' logits; infinity on NaN.
func worst(a, b [][]float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	w := 0.0
	for t := range a {
		if len(a[t]) != len(b[t]) {
			return math.Inf(1)
		}
		for i := range a[t] {
			d := math.Abs(a[t][i] - b[t][i])
			if math.IsNaN(d) {
				return math.Inf(1)
			}
			w = max(w, d)
		}
	}
	return w
}

// The oracle itself: with encoders that are copies, and states handed on, a swarm is
// the plain model to float64's rounding, whatever the router does; a swarm that
// resets states is not.
func TestOracleCopiesAreDense(t *testing.T) {
	for _, kind := range []mamba.Kind{mamba.Mamba1, mamba.Mamba2} {
		plain, c := tinyPlain(kind), tinySwarm(kind)
		dense := lively(plain, 1)
		src := grownFrom(c, dense, 2)
		ids := text(c, 80, 3)
		plan := planOf(t, c, src, ids, "")
		if n := swaps(plan); n < 5 {
			t.Fatalf("%s: %d swaps in the plan, too few for this test", kind, n)
		}
		want := newReference(plain, dense).run(ids, make([]decision, len(ids)))
		if d := worst(newReference(c, src).run(ids, plan), want); !(d <= 1e-12) {
			t.Errorf("%s: copies with hand-off differ from dense by %g", kind, d)
		}
		c.EncoderState = Reset
		if d := worst(newReference(c, src).run(ids, plan), want); d < 1e-2 {
			t.Errorf("%s: copies with reset differ from dense by %g only", kind, d)
		}
	}
}
