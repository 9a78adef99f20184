package trainer

import (
	"cmp"
	"math"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// TestBalance: the bias goes up by the rate where an encoder ran on less than its domain's
// share of the chunks, down where on more. Two encoders run on each chunk.
func TestBalance(t *testing.T) {
	b := testkit.Backend(t, "go")
	for name, tt := range map[string]struct {
		owned              []bool
		shares, load, want []float64
	}{
		"equal shares": {[]bool{true, true, true, true}, []float64{1, 1, 1, 1}, []float64{10, 6, 20, 4}, // 10 each
			[]float64{0, 1, -1, 1}},
		"as much as there is text": {[]bool{true, true, true, true}, []float64{1, 2, 1, 4}, []float64{6, 10, 4, 20}, // 5, 10, 5, 20
			[]float64{-1, 0, 1, 0}},
		"generalist that always runs": {[]bool{false, true, true, true}, []float64{0, 3, 2, 1}, []float64{24, 12, 9, 3}, // 12, 8, 4 of 24
			[]float64{0, 0, -1, 1}},
		"domain with most of the text": {[]bool{true, true, true, true}, []float64{7, 1, 1, 1}, []float64{10, 4, 4, 2}, // 10 of 14, 2, 2, 2
			[]float64{0, -1, -1, 0}},
		"domain left out of the mixture": {[]bool{false, true, true, false}, []float64{0, 0, 5, 0}, []float64{5, 2, 8, 5}, // 0, 10
			[]float64{0, -1, 1, 0}},
	} {
		l := tinyLearner(t, b, tiny(mamba.Mamba2), func(c *learnerConfig) { c.owned, c.shares = tt.owned, tt.shares })
		const rate = 1e-3
		for step := 1; step <= 2; step++ {
			if err := l.balance(rate, tt.load); err != nil {
				t.Fatal(err)
			}
			bias, err := read[float32](l.state["p/"+balanceBias], 4)
			if err != nil {
				t.Fatal(err)
			}
			for e, want := range tt.want {
				if want *= rate * float64(step); math.Abs(float64(bias[e])-want) > 1e-8 {
					t.Errorf("%s: bias of encoder %d is %v after step %d, want %v", name, e, bias[e], step, want)
				}
			}
		}
	}
}

// TestBalancedRun: a run balances by what the mixture, or else the tokens of the training
// texts, say of the domains.
func TestBalancedRun(t *testing.T) {
	b, folder := testkit.Backend(t, "go"), prepared(t)
	model, rows := trained(), map[string]float64{}
	all, err := data.Rows(folder, data.Train, 16)
	if err != nil {
		t.Fatal(err)
	}
	for row, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		rows[[]string{"birds", "law", "stars"}[row.Domain]]++
	}
	for name, mixture := range map[string]map[string]float64{"mixture": {"birds": 2, "law": 1, "stars": 1}, "tokens": nil} {
		plan, rate := phases(), 0.25
		plan.Pinned, plan.Held, plan.Mixture = false, 4, mixture
		plan.Phases = []Phase{{Kind: Joint, Tokens: 4 * 16, LR: 1e-3, BiasRate: rate}}
		var use []float64
		tr, err := New(Config{Backend: b, Model: model, Plan: plan, Data: folder, Record: func(r telemetry.Record) error {
			use = r.EncoderUse
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := tr.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		of := mixture
		if of == nil {
			of = rows
		}
		moved := 0.0
		for e, domain := range model.Router.Domains {
			want := 0.0
			if e > 0 {
				target := (1 - use[0]) * of[domain] / (of["birds"] + of["law"] + of["stars"])
				want = rate * float64(cmp.Compare(math.Round(1e6*target), math.Round(1e6*use[e])))
			}
			bias := float64(got[balanceBias].Values[e])
			if bias != want {
				t.Errorf("%s: bias of %s is %v where it was used for %.3f, want %v", name, domain, bias, use, want)
			}
			moved += math.Abs(bias)
		}
		if moved == 0 {
			t.Errorf("%s: no bias moved", name)
		}
	}
}
