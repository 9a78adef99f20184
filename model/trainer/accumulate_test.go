package trainer

import (
	"math"
	"slices"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// TestAccumulate: two runs of two texts a step give what one run of four gives: losses,
// gradient's norm, use of the encoders and weights. Epsilon is large: else rounding of the
// smallest gradients would show in AdamW's steps, and a sum of gradients would not.
func TestAccumulate(t *testing.T) {
	b, folder := testkit.Backend(t, "go"), prepared(t)
	for name, phase := range map[string]Phase{
		"plain": {Kind: Seed},
		"swarm": {Kind: Joint, Losses: Losses{Z: 0.1, Aggregator: 0.5}, BiasRate: 0.01},
	} {
		phase.Tokens, phase.LR = 3*4*16, 0.01
		run := func(accumulate int) (Params, []telemetry.Record) {
			plan := phases()
			plan.Optimizer = AdamW{Beta1: 0.9, Beta2: 0.95, Epsilon: 0.01, WeightDecay: 0.1, Clip: 1}
			plan.Accumulate, plan.Capacity, plan.Held, plan.Phases = accumulate, 4, 4, []Phase{phase}
			var records []telemetry.Record
			tr, err := New(Config{Backend: b, Model: trained(), Plan: plan, Data: folder, Record: func(r telemetry.Record) error {
				records = append(records, r)
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			p, err := tr.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return p, records
		}
		want, whole := run(1)
		got, halves := run(2)
		if len(halves) != 3 || len(whole) != 3 {
			t.Fatalf("%s: %d and %d records, want 3", name, len(halves), len(whole))
		}
		for i, r := range halves {
			w := whole[i]
			if math.Abs(r.GradNorm-w.GradNorm) > 1e-4*w.GradNorm {
				t.Errorf("%s, step %d: norm %v, of one run %v", name, i, r.GradNorm, w.GradNorm)
			}
			if math.Abs(r.Loss-w.Loss) > 1e-4 {
				t.Errorf("%s, step %d: loss %v, of one run %v", name, i, r.Loss, w.Loss)
			}
			for _, part := range []string{"cross_entropy", "z", "aggregator"} {
				if math.Abs(r.Losses[part]-w.Losses[part]) > 1e-4 {
					t.Errorf("%s, step %d: %s %v, of one run %v", name, i, part, r.Losses[part], w.Losses[part])
				}
			}
			if !slices.Equal(r.EncoderUse, w.EncoderUse) {
				t.Errorf("%s, step %d: use %v, of one run %v", name, i, r.EncoderUse, w.EncoderUse)
			}
		}
		for tensor, p := range want {
			for i, v := range p.Values {
				if !(math.Abs(float64(got[tensor].Values[i]-v)) <= 1e-4) {
					t.Fatalf("%s: %s[%d] is %v, of one run %v", name, tensor, i, got[tensor].Values[i], v)
				}
			}
		}
	}
}
