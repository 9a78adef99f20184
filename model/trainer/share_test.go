package trainer

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// adam is a slow AdamW without decay on one tensor.
type adam struct{ m, v []float64 }

// step returns the step of number n, from 1, for a learning rate of 1.
func (a *adam) step(o AdamW, n int, grad []float64) []float64 {
	if a.m == nil {
		a.m, a.v = make([]float64, len(grad)), make([]float64, len(grad))
	}
	out := make([]float64, len(grad))
	for i, g := range grad {
		a.m[i] = o.Beta1*a.m[i] + (1-o.Beta1)*g
		a.v[i] = o.Beta2*a.v[i] + (1-o.Beta2)*g*g
		mean, square := a.m[i]/(1-math.Pow(o.Beta1, float64(n))), a.v[i]/(1-math.Pow(o.Beta2, float64(n)))
		out[i] = mean / (math.Sqrt(square) + o.Epsilon)
	}
	return out
}

// gradient reads that of a batch for a stack, as one row for each encoder.
func gradient(t *testing.T, l *learner, batch rowsOfBatch, stack string) [][]float64 {
	t.Helper()
	if err := l.put(batch); err != nil {
		t.Fatal(err)
	}
	out, err := l.gradients.run(1, l.state)
	if err != nil {
		t.Fatal(err)
	}
	defer out.finalize()
	flat, err := read[float32](out["g/"+stack], l.shape(stack).Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range l.trainable {
		if err := l.upload("g/"+name, make([]float32, l.shape(name).Size()), l.shape(name), false); err != nil {
			t.Fatal(err)
		}
	}
	rows := make([][]float64, len(l.owned))
	for i, v := range flat {
		e := i * len(rows) / len(flat)
		rows[e] = append(rows[e], float64(v))
	}
	return rows
}

// TestShare: specialists move by AdamW's steps for their own gradients, for the sum of
// their group's and for the sum of all, each with moments of its own.
func TestShare(t *testing.T) {
	const lr, stack, tensor = 0.01, "backbone.encoders.layers.0.mixer.in_proj.weight", ".layers.0.mixer.in_proj.weight"
	c := tiny(mamba.Mamba2)
	tr := Trainer{Config: Config{Model: c}, groups: map[string]string{"b": "g", "c": "g"}}
	tr.Model.Router.Domains = []string{"", "a", "b", "c"}
	owned := []bool{false, true, true, true}
	parts := tr.commonParts(Share{All: 2, Groups: 0.5}, owned)
	if len(parts) != 2 || !slices.Equal(parts[0].members, []float32{0, 1, 1, 1}) || !slices.Equal(parts[1].members, []float32{0, 0, 1, 1}) {
		t.Fatalf("parts in common %v", parts)
	}
	l := tinyLearner(t, testkit.Backend(t, "go"), c, func(cfg *learnerConfig) {
		cfg.owned, cfg.Common = owned, parts
		cfg.Decay = map[Group]float64{Generalist: 0, Specialists: 0}
		cfg.Optimizer.Clip = 1e9
	})
	batch := tinyBatch(c, l.Batch, l.SeqLen)
	own, common := make([]adam, 4), make([]adam, 2)
	for n := 1; n <= 3; n++ {
		rows := gradient(t, l, batch, stack)
		before, err := l.params()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.step([]rowsOfBatch{batch}, lr); err != nil {
			t.Fatal(err)
		}
		after, err := l.params()
		if err != nil {
			t.Fatal(err)
		}
		want := make([][]float64, 4)
		for e := range want {
			want[e] = own[e].step(l.Optimizer, n, rows[e])
		}
		for g, part := range parts {
			sum := make([]float64, len(rows[0]))
			for e, member := range part.members {
				for i := range sum {
					sum[i] += float64(member) * rows[e][i]
				}
			}
			for i, v := range common[g].step(l.Optimizer, n, sum) {
				for e, member := range part.members {
					want[e][i] += part.pace * float64(member) * v
				}
			}
		}
		for e := range want {
			name := "backbone.encoders." + string(rune('0'+e)) + tensor
			for i, v := range before[name].Values {
				if got := float64(v-after[name].Values[i]) / lr; math.Abs(got-want[e][i]) > 1e-3 {
					t.Fatalf("step %d: %s[%d] went down by %g, want %g", n, name, i, got, want[e][i])
				}
			}
		}
	}
}

// TestShareFromNothing: specialists that share begin alike, and the generalist does not
// begin like them.
func TestShareFromNothing(t *testing.T) {
	tr := Trainer{Config: Config{Model: trained(), Plan: Plan{Seed: 1, SeqLen: 16}, Data: prepared(t)}, domains: []string{"birds", "law", "stars"}}
	if err := tr.grow(leg{phase: Phase{Kind: Joint, Share: Share{All: 1}}}); err != nil {
		t.Fatal(err)
	}
	name := func(e string) []float32 {
		return tr.params["backbone.encoders."+e+".layers.0.mixer.in_proj.weight"].Values
	}
	if !slices.Equal(name("1"), name("2")) || !slices.Equal(name("1"), name("3")) || slices.Equal(name("0"), name("1")) {
		t.Error("the encoders begin otherwise")
	}
	tr.params = nil
	if err := tr.grow(leg{phase: Phase{Kind: Joint}}); err != nil {
		t.Fatal(err)
	}
	if slices.Equal(name("1"), name("2")) {
		t.Error("encoders that share nothing begin alike")
	}
}

// TestShareRefused: what cannot be shared is a fault of the plan.
func TestShareRefused(t *testing.T) {
	c := swarm.Config{Router: router.Config{NumEncoders: 4}}
	for text, phase := range map[string]Phase{
		"only the phase joint": {Kind: Branch, Share: Share{Groups: 1}},
		"must not be negative": {Kind: Joint, Share: Share{All: -1}},
	} {
		phase.Tokens, phase.LR = 1<<20, 1
		if err := (Plan{SeqLen: 16, Batch: 1, Phases: []Phase{phase}}).Check(c); err == nil || !strings.Contains(err.Error(), "phases[0].share") || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
