package trainer

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// TestPlanOptimizer: what a plan's file names counts as it stands, 0 too; the rest is usual.
// What a worker is sent is the same.
func TestPlanOptimizer(t *testing.T) {
	for text, want := range map[string]AdamW{
		`{}`:                               {0.9, 0.95, 1e-8, 0.1, 1},
		`{"optimizer": {}}`:                {0.9, 0.95, 1e-8, 0.1, 1},
		`{"optimizer": {"clip": 0}}`:       {0.9, 0.95, 1e-8, 0.1, 0},
		`{"optimizer": {"epsilon": 0.01}}`: {0.9, 0.95, 0.01, 0.1, 1},
		`{"optimizer": {"weight_decay": 0, "beta1": 0}}`: {0, 0.95, 1e-8, 0, 1},
	} {
		p, err := ParsePlan([]byte(text))
		if err != nil || p.Optimizer != want {
			t.Errorf("%s: %+v, %v; want %+v", text, p.Optimizer, err, want)
		}
		sent, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(sent, &p); err != nil || p.Optimizer != want {
			t.Errorf("%s: sent as %s", text, sent)
		}
	}
	for text, want := range map[string]string{
		`{"optimizer": {"epsilon": 0}}`:       "optimizer.epsilon: 0, must be positive",
		`{"optimizer": {"weight_decay": -1}}`: "optimizer.weight_decay: -1, must not be negative",
		`{"optimizer": {"clip": -1}}`:         "optimizer.clip: -1, must not be negative",
		`{"optimizer": {"beta1": 0, "beta2": 0, "epsilon": 0, "weight_decay": 0, "clip": 0}}`: "optimizer.epsilon: 0, must be positive",
	} {
		if _, err := ParsePlan([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
	}
}

// TestNoClip: a clip of 0 leaves the gradient as it is, as one that is never reached does.
func TestNoClip(t *testing.T) {
	step := func(clip float64) []float32 {
		c := plain(mamba.Mamba2)
		l := tinyLearner(t, testkit.Backend(t, "go"), c, func(cfg *learnerConfig) { // a large epsilon: else steps hardly depend on the gradient's scale
			cfg.Optimizer.Clip, cfg.Optimizer.Epsilon, cfg.Group = clip, 1, Shared
		})
		if _, err := l.step([]rowsOfBatch{tinyBatch(c, l.Batch, l.SeqLen)}, 0.1); err != nil {
			t.Fatal(err)
		}
		p, err := l.params()
		if err != nil {
			t.Fatal(err)
		}
		return p["backbone.embeddings.weight"].Values
	}
	none := step(0)
	if !slices.Equal(none, step(1e9)) {
		t.Error("a clip of 0 is not one that is never reached")
	}
	if slices.Equal(none, step(1e-3)) {
		t.Error("a clip shows no effect")
	}
}

// TestNoWeight: texts of which none counts have a loss of 0, and teach nothing.
func TestNoWeight(t *testing.T) {
	c := tiny(mamba.Mamba2)
	l := tinyLearner(t, testkit.Backend(t, "go"), c, func(cfg *learnerConfig) {
		cfg.Optimizer.WeightDecay, cfg.Losses = 0, Losses{}
	})
	before, err := l.params()
	if err != nil {
		t.Fatal(err)
	}
	batch := tinyBatch(c, l.Batch, l.SeqLen)
	clear(batch.weight)
	r, err := l.step([]rowsOfBatch{batch}, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	if r.stats[statLoss] != 0 || r.norm != 0 || math.IsNaN(r.rows[0]) {
		t.Errorf("loss %v, gradient of norm %v, texts %v", r.stats[statLoss], r.norm, r.rows)
	}
	after, err := l.params()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range before {
		if !slices.Equal(p.Values, after[name].Values) {
			t.Errorf("%s moved", name)
		}
	}
}
