package trainer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// prepared is a folder of data of three domains, made of words of their own.
func prepared(t *testing.T) string {
	t.Helper()
	return preparedOf(t, map[string]int{"train": 40, "valid": 6})
}

// preparedOf is one with so many texts of each domain in some splits.
func preparedOf(t *testing.T, splits map[string]int) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range []string{"birds", "law", "stars"} {
		for split, n := range splits {
			rng := rand.New(rand.NewPCG(uint64(n), uint64(i)))
			var text strings.Builder
			for range n {
				fmt.Fprintf(&text, "{\"text\": \"")
				for range 60 {
					fmt.Fprintf(&text, "%s%c ", name, 'a'+rune(rng.IntN(6)))
				}
				fmt.Fprintf(&text, "\"}\n")
			}
			if err := os.MkdirAll(filepath.Join(dir, "in", split), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "in", split, name+".jsonl"), []byte(text.String()), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	out := filepath.Join(dir, "data")
	_, err := data.Prepare(t.Context(), data.PrepareConfig{Out: out, Inputs: []string{filepath.Join(dir, "in")},
		Tokenizer: filepath.Join("..", "..", "weights", "mamba2-mini"), Rules: data.Rules{TextField: "text", KeepDuplicates: true}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// trained is a swarm of a generalist and three specialists.
func trained() swarm.Config {
	c := tiny(mamba.Mamba2)
	c.Base.VocabSize = 8192
	c.Router.Domains = []string{"general", "birds", "law", "stars"}
	return c
}

// phases is a plan of all four phases.
func phases() Plan {
	const steps = 4 * 4 * 16 // tokens of four steps
	return Plan{Seed: 3, SeqLen: 16, Batch: 4, Accumulate: 2, Capacity: 3, Pinned: true, Log: 1, Save: 3, Phases: []Phase{
		{Kind: Seed, Tokens: 2 * steps, LR: 0.01, Warmup: 2},
		{Kind: Branch, Tokens: steps, LR: 0.01, Schedule: WSD, Floor: 0.1, Swap: 0.3},
		{Kind: Route, Tokens: steps, LR: 0.01, Losses: Losses{Domain: 1, Aggregator: 0.1}, Teach: true, Swap: 0.3},
		{Kind: Joint, Tokens: steps, LR: 0.005, Losses: Losses{Balance: 0.01, Z: 0.001, Domain: 0.1}, BiasRate: 0.001,
			Share: Share{All: 0.5, Groups: 1}, Decay: map[Group]float64{Specialists: 0.3}, Pace: map[Group]float64{Shared: 0.5, Router: 0}},
	}}
}

// run trains with checkpoints in dir, and stops when the record of step stop comes.
func run(t *testing.T, b compute.Backend, dir, folder string, plan Plan, stop int64) (Params, []telemetry.Record, error) {
	t.Helper()
	m, err := ckpt.Open(ckpt.Config{Dir: dir, Keep: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var records []telemetry.Record
	tr, err := New(Config{Backend: b, Model: trained(), Plan: plan, Data: folder, Checkpoints: m, Record: func(r telemetry.Record) error {
		records = append(records, r)
		if r.Step == stop {
			cancel()
		}
		return nil
	}})
	if err != nil {
		return nil, nil, err
	}
	p, err := tr.Run(ctx)
	return p, records, err
}

// TestResume: a run of all phases that is stopped again and again gives the same
// weights to the bit, and the same losses, as one that is not.
func TestResume(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		if testing.Short() {
			t.Skip("SKIPPED with -short: it compiles a dozen programs")
		}
		folder := prepared(t)
		whole, records, err := run(t, b, filepath.Join(t.TempDir(), "whole"), folder, phases(), -1)
		if err != nil {
			t.Fatal(err)
		}
		if first, last := records[0].Losses["cross_entropy"], records[len(records)-1].Losses["cross_entropy"]; !(last < first-0.2) {
			t.Errorf("cross-entropy from %.2f to %.2f, want it to fall", first, last)
		}
		dir := filepath.Join(t.TempDir(), "parts")
		var parts []telemetry.Record
		var got Params
		stops := []int64{5, 14, 26, -1}
		if b.String() != "go" {
			stops = stops[1:] // compiling is most of the time there
		}
		for _, stop := range stops {
			var some []telemetry.Record
			if got, some, err = run(t, b, dir, folder, phases(), stop); stop > 0 && !errors.Is(err, context.Canceled) {
				t.Fatalf("stopped at %d: %v", stop, err)
			}
			parts = append(parts, some...)
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(parts) != len(records) {
			t.Fatalf("%d records in parts, %d in one run", len(parts), len(records))
		}
		for i, r := range records {
			if parts[i].Step != r.Step || parts[i].Loss != r.Loss {
				t.Fatalf("step %d: loss %v, in one run step %d: %v", parts[i].Step, parts[i].Loss, r.Step, r.Loss)
			}
		}
		for name, p := range whole {
			if !slices.Equal(p.Values, got[name].Values) {
				t.Errorf("%s differs from that of one run", name)
			}
		}
	})
}

// TestPhasesTrainTheirOwn: a branch changes its encoder alone, and the router's phase
// router and aggregator alone.
func TestPhasesTrainTheirOwn(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder := prepared(t)
	plan := phases()
	start := Init(trained(), 1)
	for kind, own := range map[Kind]string{Branch: "backbone.encoders.", Route: "backbone.router. backbone.aggregator."} {
		plan.Phases = []Phase{{Kind: kind, Tokens: 4 * 16, LR: 0.01, Teach: true}}
		tr, err := New(Config{Backend: b, Model: trained(), Plan: plan, Data: folder, Start: start})
		if err != nil {
			t.Fatal(err)
		}
		got, err := tr.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		changed := map[string]bool{}
		for name, p := range got {
			if name != balanceBias && !slices.Equal(p.Values, start[name].Values) {
				changed[name] = true
				if !slices.ContainsFunc(strings.Fields(own), func(prefix string) bool { return strings.HasPrefix(name, prefix) }) || strings.Contains(name, "encoders.0.") {
					t.Errorf("%s: %s changed", kind, name)
				}
			}
		}
		if len(changed) < 3 {
			t.Errorf("%s: only %d tensors changed", kind, len(changed))
		}
	}
}

// TestRefused: what cannot be trained is refused with what is wrong.
func TestRefused(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder := prepared(t)
	for name, tt := range map[string]struct {
		edit func(*Config)
		want string
	}{
		"no phase":         {func(c *Config) { c.Plan.Phases = nil }, "phases: none"},
		"seed later":       {func(c *Config) { slices.Reverse(c.Plan.Phases) }, "seed must be the first phase"},
		"plain with joint": {func(c *Config) { c.Model = c.Model.Dense() }, "joint needs a swarm"},
		"too few tokens":   {func(c *Config) { c.Plan.Phases[0].Tokens = 3 }, "less than one step"},
		"sequence":         {func(c *Config) { c.Plan.SeqLen = 18 }, "multiple of the router's chunk"},
		"accumulate":       {func(c *Config) { c.Plan.Accumulate = 3 }, "does not divide batch"},
		"merged weights":   {func(c *Config) { c.Model.Fusion = swarm.FuseWeights }, "cannot be trained"},
		"vocabulary":       {func(c *Config) { c.Model.Base.VocabSize = 100 }, "prepare the data with the model's tokenizer"},
		"no domains":       {func(c *Config) { c.Model.Router.Domains = nil; c.Plan.Phases = c.Plan.Phases[1:2] }, "encoder_domains"},
		"group":            {func(c *Config) { c.Plan.Phases[3].Pace = map[Group]float64{"decoder": 1} }, `phases[3].lr_factor: "decoder", must be one of`},
		"decay":            {func(c *Config) { c.Plan.Phases[3].Decay = map[Group]float64{Shared: -1} }, "phases[3].weight_decay: shared has -1"},
		"swap":             {func(c *Config) { c.Plan.Phases[3].Swap = 0.1 }, "phases[3].swap: needs teach"},
		"patience":         {func(c *Config) { c.Plan.Phases[1].Patience = 1 }, "phases[1].patience: needs validate_every"},
		"patient seed":     {func(c *Config) { c.Plan.Phases[0].Patience = 1 }, "phases[0].patience: only phases branch and joint"},
		"no data":          {func(c *Config) { c.Data = t.TempDir() }, "data.json"},
		"unknown weight":   {func(c *Config) { c.Plan.Weights = map[string]float64{"law": 2, "poetry": 1} }, `loss_weight: "poetry", must be one of the data's domains: birds, law, stars`},
		"weight":           {func(c *Config) { c.Plan.Weights = map[string]float64{"law": -2} }, `loss_weight: "law" has -2, must not be negative`},
		"log":              {func(c *Config) { c.Plan.Log = -1 }, "log_every: -1, must not be negative"},
		"validate":         {func(c *Config) { c.Plan.Validate = -1 }, "validate_every: -1, must"},
		"rows":             {func(c *Config) { c.Plan.Held = -1 }, "validate_rows: -1, must"},
		"save":             {func(c *Config) { c.Plan.Save = -1 }, "checkpoint_every: -1, must"},
		"less than a run":  {func(c *Config) { c.Plan.Accumulate = -1 }, "accumulate: -1, must"},
		"warm-up":          {func(c *Config) { c.Plan.Phases[2].Warmup = -5 }, "phases[2].warmup: -5, must not be negative"},
		"bias":             {func(c *Config) { c.Plan.Phases[3].BiasRate = -1 }, "phases[3].bias_rate: -1, must"},
		"noise":            {func(c *Config) { c.Plan.Phases[1].Noise = -1 }, "phases[1].noise: -1, must"},
		"loss":             {func(c *Config) { c.Plan.Phases[3].Losses.Z = -1 }, "phases[3].losses.z: -1, must"},
		"optimizer":        {func(c *Config) { c.Plan.Optimizer = AdamW{Clip: 1} }, "optimizer.epsilon: 0, must be positive"},
		"no mean":          {func(c *Config) { c.Plan.Optimizer = AdamW{Beta2: 1, Epsilon: 1} }, "optimizer.beta2: 1, must be from 0 to less than 1"},
	} {
		c := Config{Backend: b, Model: trained(), Plan: phases(), Data: folder}
		tt.edit(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
}

// TestOtherRun: checkpoints of another plan are not taken up.
func TestOtherRun(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder, dir := prepared(t), t.TempDir()
	if _, _, err := run(t, b, dir, folder, phases(), 2); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	plan := phases()
	plan.Phases[0].LR *= 2
	if _, _, err := run(t, b, dir, folder, plan, -1); err == nil || !strings.Contains(err.Error(), "another model or plan") {
		t.Errorf("error %v", err)
	}
	if _, _, err := run(t, b, dir, prepared(t), phases(), -1); err != nil {
		t.Errorf("the same data elsewhere: %v", err)
	}
}

// TestNotFinite: a gradient that is not finite changes nothing, and a row of them
// ends the run.
func TestNotFinite(t *testing.T) {
	b := testkit.Backend(t, "go")
	start := Init(trained().Dense(), 1)
	start["backbone.norm_f.weight"].Values[0] = float32(math.NaN())
	plan := phases()
	plan.Phases = []Phase{{Kind: Seed, Tokens: 20 * 4 * 16, LR: 0.01}}
	tr, err := New(Config{Backend: b, Model: trained(), Plan: plan, Data: prepared(t), Start: start})
	if err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(start["backbone.embeddings.weight"].Values)
	if _, err := tr.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "not finite in 10 steps") {
		t.Errorf("error %v", err)
	}
	if !slices.Equal(before, start["backbone.embeddings.weight"].Values) {
		t.Error("the weights changed")
	}
	if _, err := Read(t.Context(), trained().Dense(), start); err == nil || !strings.Contains(err.Error(), "norm_f.weight: element 0 is NaN") {
		t.Errorf("reading damaged weights: %v", err)
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte(`{"seq_len": 8, "batch": 2, "phases": [{"phase": "seed", "tokens": 100, "lr": 0.1}]}`))
	f.Add([]byte(`{"phases": [{"phase": "joint", "losses": {"z": 1e999}}]}`))
	f.Add([]byte(`{"unknown": 1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePlan(text)
		if err != nil {
			return
		}
		_ = p.Check(trained()) // must not panic
	})
}
