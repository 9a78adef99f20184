package telemetry

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// domains are names as a corpus has them.
var domains = []string{"c", "python", "go", "javascript", "sql", "manuals", "medicine", "law", "patents", "biology", "chemistry", "physics", "statistics", "games", "news", "encyclopedia", "dialogue", "recipes", "poetry"}

// run makes the records of a run of four phases as trainings go: losses that fall with
// noise, a spike, a domain supervision that teaches the router, an encoder that dies and
// comes back.
func run(n, encoders int) []Record {
	rng := rand.New(rand.NewPCG(1, 2))
	phaseOf := func(t float64) string {
		switch {
		case t < 0.35:
			return "seed"
		case t < 0.65:
			return "branch"
		case t < 0.75:
			return "router"
		}
		return "joint"
	}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	records := make([]Record, n)
	for i := range records {
		t := float64(i) / float64(n)
		ce := 2.6 + 1.5*math.Exp(-6*t) + 5*math.Exp(-120*t) + 0.06*rng.NormFloat64()
		if i == n/2 {
			ce += 3
		}
		r := Record{
			Step: int64(i+1) * 20, Steps: int64(n) * 20, Time: start.Add(time.Duration(i) * 4 * time.Second), Phase: phaseOf(t),
			Tokens: int64(i+1) * 20 * 32768, LR: 3e-3 * min(1, 40*t) * (0.1 + 0.9*(1+math.Cos(math.Pi*t))/2),
			GradNorm: 0.4 + 2*math.Exp(-20*t) + 0.1*rng.ExpFloat64(), TokensPerSecond: 410e3 + 9e3*rng.NormFloat64(),
			MemoryBytes: int64(6.1e9 + 2e8*t), Losses: map[string]float64{"cross_entropy": ce}, DomainLoss: map[string]float64{},
			Seconds: map[string]float64{"data": 0.02 + 0.01*rng.Float64(), "step": 1.5 + 0.05*rng.NormFloat64(), "checkpoint": 0.004},
		}
		for d, name := range domains {
			r.DomainLoss[name] = ce - 0.9 + 0.11*float64(d) + 0.05*rng.NormFloat64()
		}
		r.Loss = ce
		if r.Phase == "router" || r.Phase == "joint" {
			since := t - 0.65
			r.RouterAgreement = new(0.96 - 0.7*math.Exp(-25*since) + 0.01*rng.NormFloat64())
			r.Dropped = new(math.Max(0, 0.05*math.Exp(-20*since)+0.003*rng.NormFloat64()))
			r.Losses["balance"], r.Losses["router_z"] = 1e-3*(1+2*math.Exp(-20*since)), 2e-4*(1+0.1*rng.NormFloat64())
			r.Losses["domain"], r.Losses["aggregator"] = 0.02+0.3*math.Exp(-20*since), 0.01*(1+0.2*rng.NormFloat64())
			r.Loss += r.Losses["balance"] + r.Losses["router_z"] + r.Losses["domain"] + r.Losses["aggregator"]
			r.EncoderUse = make([]float64, encoders)
			for e := range r.EncoderUse {
				r.EncoderUse[e] = math.Max(0, (1+0.5*math.Sin(float64(e)))*(1+0.15*rng.NormFloat64()))
			}
			if t < 0.85 {
				r.EncoderUse[encoders/3] = 0
			}
		}
		if i == n/3 {
			r.Loss, r.GradNorm, r.Losses["cross_entropy"] = math.NaN(), math.Inf(1), math.NaN()
		}
		r.Extra = map[string]any{"skipped": float64(i / 700), "note": fmt.Sprint("record ", i)}
		records[i] = r
	}
	return records
}
