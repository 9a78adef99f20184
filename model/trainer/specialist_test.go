package trainer

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// TestGroupsOfTensors: a step with a decay and a pace for each group is that without
// them, plus the decay and times the pace.
func TestGroupsOfTensors(t *testing.T) {
	b := testkit.Backend(t, "go")
	c := tiny(mamba.Mamba2)
	step := func(edit func(*learnerConfig)) (before, after Params, norm float64) {
		l := tinyLearner(t, b, c, func(cfg *learnerConfig) {
			cfg.owned = []bool{false, true, true, true}
			edit(cfg)
		})
		before, err := l.params()
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.step([]rowsOfBatch{tinyBatch(c, l.Batch, l.SeqLen)}, 0.01)
		if err != nil {
			t.Fatal(err)
		}
		if after, err = l.params(); err != nil {
			t.Fatal(err)
		}
		return before, after, r.norm
	}
	const lr, decay = 0.01, 0.1
	start, plain, norm := step(func(*learnerConfig) {})
	_, grouped, groupedNorm := step(func(cfg *learnerConfig) {
		cfg.Decay = map[Group]float64{Specialists: 0.5, Shared: 0}
		cfg.Pace = map[Group]float64{Router: 0.5, Specialists: 2}
	})
	if norm != groupedNorm {
		t.Errorf("norm %v, of groups %v", norm, groupedNorm)
	}
	for name, p := range start {
		pace, more := 1.0, 0.0
		switch {
		case strings.Contains(name, ".router."):
			pace = 0.5
		case strings.Contains(name, ".encoders.") && !strings.Contains(name, ".encoders.0."):
			pace, more = 2, 0.5-decay
		case !strings.Contains(name, ".aggregator.") && !strings.Contains(name, ".encoders."):
			more = -decay
		}
		if !decayed[kindOf(name)] {
			more = 0
		}
		for i, v := range p.Values {
			want := pace * (float64(plain[name].Values[i]-v) - lr*more*float64(v))
			if got := float64(grouped[name].Values[i] - v); math.Abs(got-want) > 1e-6 {
				t.Fatalf("%s[%d] moved by %g, want %g", name, i, got, want)
			}
		}
	}
	_, still, stillNorm := step(func(cfg *learnerConfig) { cfg.Pace = map[Group]float64{Shared: 0, Generalist: 0} })
	for name, p := range start {
		moves := strings.Contains(name, ".router.") || strings.Contains(name, ".aggregator.") || strings.Contains(name, ".encoders.")
		moves = moves && !strings.Contains(name, ".encoders.0.") && name != balanceBias
		if moved := !slices.Equal(p.Values, still[name].Values); moved && !moves {
			t.Errorf("%s moved at no pace", name)
		}
	}
	_, _, want := step(func(cfg *learnerConfig) {
		cfg.Pace = map[Group]float64{Generalist: 0}
		cfg.Trainable = func(name string) bool { return cfg.groups(name)[0] != Shared || strings.Contains(name, ".encoders.") }
	})
	if stillNorm != want || want >= norm {
		t.Errorf("norm %v, of the tensors that move alone %v, of all %v", stillNorm, want, norm)
	}
}

// TestFrozenEncoder: an encoder that is frozen stays as it is to the bit, others do not.
func TestFrozenEncoder(t *testing.T) {
	b := testkit.Backend(t, "go")
	c := tiny(mamba.Mamba2)
	l := tinyLearner(t, b, c, nil)
	l.frozen[1] = true
	before, err := l.params()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.step([]rowsOfBatch{tinyBatch(c, l.Batch, l.SeqLen)}, 0.01); err != nil {
		t.Fatal(err)
	}
	after, err := l.params()
	if err != nil {
		t.Fatal(err)
	}
	for e, want := range []bool{true, false, true} {
		name := "backbone.encoders." + string(rune('0'+e)) + ".layers.0.mixer.in_proj.weight"
		if moved := !slices.Equal(before[name].Values, after[name].Values); moved != want {
			t.Errorf("%s moved: %v", name, moved)
		}
	}
}

// TestSwap: a share of the texts goes to another specialist, never their own, and
// those of no specialist go nowhere else.
func TestSwap(t *testing.T) {
	const n, share = 4000, 0.25
	among := []int32{1, 2, 4}
	draw := func() rowsOfBatch {
		var b rowsOfBatch
		for i := range n {
			b.encoder = append(b.encoder, []int32{1, 2, 4, -1}[i%4])
		}
		b.runs = slices.Clone(b.encoder)
		b.swap(among, share, rand.New(rand.NewPCG(1, 2)))
		return b
	}
	b := draw()
	swapped, to := 0, map[int32]int{}
	for i, e := range b.runs {
		switch own := b.encoder[i]; {
		case own < 0 && e != own:
			t.Fatal("a text of no specialist has one")
		case e != own:
			swapped++
			to[e]++
		}
	}
	if got := float64(swapped) / (n * 3 / 4); math.Abs(got-share) > 0.03 {
		t.Errorf("%.3f swapped, want %v", got, share)
	}
	for _, e := range among {
		if to[e] < swapped/4 {
			t.Errorf("swapped to %v, want even", to)
		}
	}
	if !slices.Equal(b.runs, draw().runs) {
		t.Error("the same seed swaps others")
	}
}

// TestPatience: a branch that gets worse stops, and what it keeps is as good as it ever
// was.
func TestPatience(t *testing.T) {
	b := testkit.Backend(t, "go")
	model := trained()
	model.Router.Domains = []string{"general", "birds", "", ""}
	plan := phases()
	plan.Validate, plan.Held, plan.Log = 1, 16, 100
	const steps = 30
	plan.Phases = []Phase{{Kind: Branch, Tokens: steps * 4 * 16, LR: 0.5, Patience: 3}}
	m, err := ckpt.Open(ckpt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var losses []float64
	tr, err := New(Config{Backend: b, Model: model, Plan: plan, Data: prepared(t), Start: Init(model, 1), Checkpoints: m, Record: func(r telemetry.Record) error {
		losses = append(losses, r.Extra["valid_loss"].(float64))
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	best, err := tr.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lowest := slices.Index(losses, slices.Min(losses))
	if want := lowest + 3 + 1; len(losses) != want || want >= steps {
		t.Fatalf("stopped after %d of %d steps, want 3 after the lowest of %.2f", len(losses), steps, losses)
	}
	plan.Phases[0].Tokens, plan.Phases[0].LR, plan.Phases[0].Patience = 4*16, 1e-30, 0
	want := slices.Min(losses)
	if saved, err := m.Last(); err != nil || saved.Loss != want {
		t.Errorf("the checkpoint of what was kept has a loss of %v, %v; the lowest was %v", saved.Loss, err, want)
	}
	losses = nil
	tr.Config.Plan, tr.Config.Start, tr.Config.Checkpoints = plan, best, nil
	if tr, err = New(tr.Config); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if math.Abs(losses[0]-want) > 1e-5 {
		t.Errorf("what was kept has a loss of %v, the lowest was %v", losses[0], want)
	}
}

// TestResumePatience: what a run knows about its specialists is in its checkpoints.
func TestResumePatience(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder := prepared(t)
	plan := phases()
	plan.Validate, plan.Held, plan.Save = 1, 12, 100
	const step = 4 * 16
	plan.Phases = []Phase{
		{Kind: Branch, Tokens: 8 * step, LR: 3, Patience: 3},
		{Kind: Joint, Tokens: 8 * step, LR: 0.3, Patience: 1, Teach: true},
	}
	whole, records, err := run(t, b, filepath.Join(t.TempDir(), "whole"), folder, plan, -1)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "parts")
	var got Params
	branch := slices.IndexFunc(records, func(r telemetry.Record) bool { return r.Phase != records[0].Phase }) // records of the first
	if branch == 8 {
		t.Fatal("the first branch did not lose patience, so that its lowest loss may be its last")
	}
	for _, stop := range []int64{int64(branch) - 1, records[len(records)-1].Step - 2} {
		if _, _, err := run(t, b, dir, folder, plan, stop); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at %d: %v", stop, err)
		}
	}
	if got, _, err = run(t, b, dir, folder, plan, -1); err != nil {
		t.Fatal(err)
	}
	for name, p := range whole {
		if !slices.Equal(p.Values, got[name].Values) {
			t.Errorf("%s differs from that of one run", name)
		}
	}
}

// TestMamba1: a swarm of Mamba-1 learns as a dense Mamba-1 of equal active layers does.
func TestMamba1(t *testing.T) {
	b := testkit.Backend(t, "go")
	model := trained()
	vocab, domains := model.Base.VocabSize, model.Router.Domains
	model = tiny(mamba.Mamba1)
	model.Base.VocabSize, model.Router.Domains = vocab, domains
	folder := prepared(t)
	losses := map[Kind][]float64{}
	for _, kind := range []Kind{Seed, Joint} {
		plan := phases()
		plan.Accumulate = 1
		plan.Phases = []Phase{{Kind: kind, Tokens: 20 * 4 * 16, LR: 0.03, Warmup: 3, Teach: kind == Joint}}
		tr, err := New(Config{Backend: b, Model: model, Plan: plan, Data: folder, Record: func(r telemetry.Record) error {
			losses[kind] = append(losses[kind], r.Losses["cross_entropy"])
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	const steps = 20
	dense, swarm := losses[Seed][steps-1], losses[Joint][steps-1]
	if !(dense < losses[Seed][0]-2) || !(swarm < losses[Joint][0]-2) || swarm > dense+0.5 {
		t.Errorf("cross-entropy of the dense model from %.2f to %.2f, of the swarm from %.2f to %.2f; want both to fall alike",
			losses[Seed][0], dense, losses[Joint][0], swarm)
	}
	t.Logf("dense %.3f, swarm %.3f", losses[Seed], losses[Joint])
}
