package trainer

import (
	"slices"
	"testing"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// TestNewRouterKnowsDomains: before its first step a swarm trained from scratch, or grown
// from a seed, picks the encoder of a held-out text's domain; a router that came with the
// model stays as it is.
func TestNewRouterKnowsDomains(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder := prepared(t)
	model := trained()
	model.Router.Dim = 64
	drawn := Init(model, 3)
	plan := phases()
	plan.SeqLen, plan.Accumulate = 192, 1
	plan.Phases = []Phase{{Kind: Joint, Tokens: 4 * 192, LR: 0.01}}
	for name, tt := range map[string]struct {
		start    Params
		from, to float64
	}{
		"from scratch":  {nil, 0.9, 1},
		"from a seed":   {Init(model.Dense(), 1), 0.9, 1},
		"with a router": {drawn, 0, 0.7},
	} {
		before := slices.Clone(tt.start[routerRows].Values)
		tr, agreement := newRouter(t, b, folder, model, plan, tt.start)
		if agreement < tt.from || agreement > tt.to {
			t.Errorf("%s: the domain's encoder is first in %.2f of the decisions, want %.1f to %.1f", name, agreement, tt.from, tt.to)
		}
		t.Logf("%s: %.2f", name, agreement)
		rows := tr.params[routerRows].Values
		if before != nil && !slices.Equal(rows, before) {
			t.Errorf("%s: its rows changed", name)
		}
		if tt.from > 0 && slices.ContainsFunc(rows[:len(rows)/4], func(v float32) bool { return v != 0 }) {
			t.Errorf("%s: the generalist's row is not zero", name)
		}
	}
}

// newRouter begins a run and scores its router on held-out text.
func newRouter(t *testing.T, b compute.Backend, folder string, model swarm.Config, plan Plan, start Params) (*Trainer, float64) {
	t.Helper()
	tr, err := New(Config{Backend: b, Model: model, Plan: plan, Data: folder, Start: start})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.release()
	l, err := tr.begin(tr.legs[0])
	if err != nil {
		t.Fatal(err)
	}
	held, err := tr.validate(t.Context(), tr.legs[0], l)
	if err != nil {
		t.Fatal(err)
	}
	if held.judged == 0 {
		t.Fatal("no decision was judged")
	}
	return tr, held.hits / held.judged
}
