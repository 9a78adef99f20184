package router_test

import (
	"math"
	"math/rand/v2"

	"github.com/mamba-encoder-swarm/mes/model/router"
)

// oracleStep is the oracle's answer for one token.
type oracleStep struct {
	slots []int
	gates []float64
}

// oracle plans a whole text straight from the formulas, token by token. It shares
// nothing with the router: sums are taken from the first token at every decision, and
// encoders are swapped one pair at a time.
func oracle(c router.Config, w router.Weights, ids []int32) []oracleStep {
	k := c.EncodersPerToken
	now := oracleStep{append([]int(nil), c.DefaultEncoders...), make([]float64, k)}
	for i := range now.gates {
		now.gates[i] = 1 / float64(k)
	}
	var plan []oracleStep
	for t := range ids {
		decide := t > 0
		switch c.Granularity {
		case router.PerChunk:
			decide = t > 0 && t%c.ChunkLength == 0
		case router.PerSequence:
			decide = t == c.SequenceDecision
		}
		if decide {
			s := oracleScores(c, w, oracleFeatures(c, w, ids[:t]))
			now = oracleDecide(c, w, now.slots, s)
		}
		plan = append(plan, now)
	}
	return plan
}

// oracleFeatures: r = (1-λ) Σ_i λ^{t-i} W_R[id_i], divided by 1-λ^t; concatenated;
// divided by the root mean square.
func oracleFeatures(c router.Config, w router.Weights, past []int32) []float64 {
	t := len(past)
	var rho []float64
	for _, h := range c.HalfLives {
		lambda := math.Pow(2, -1/h)
		for d := range c.Dim {
			var sum float64
			for i := 1; i <= t; i++ {
				sum += math.Pow(lambda, float64(t-i)) * float64(w.Embeddings[int(past[i-1])*c.Dim+d])
			}
			rho = append(rho, (1-lambda)*sum/(1-math.Pow(lambda, float64(t))))
		}
	}
	var mean float64
	for _, x := range rho {
		mean += x * x / float64(len(rho))
	}
	for i := range rho {
		rho[i] /= math.Sqrt(mean)
	}
	return rho
}

// oracleScores: s = sigmoid(W_z ρ / τ).
func oracleScores(c router.Config, w router.Weights, rho []float64) []float64 {
	s := make([]float64, c.NumEncoders)
	for e := range s {
		var z float64
		for i, x := range rho {
			z += float64(w.Proj[e*len(rho)+i]) * x / c.Temperature
		}
		s[e] = math.Exp(z) / (1 + math.Exp(z))
	}
	return s
}

// oracleDecide swaps the best outsider with the worst incumbent as long as it leads
// by δ, then gives the newcomers the freed slots in score order.
func oracleDecide(c router.Config, w router.Weights, incumbents []int, s []float64) oracleStep {
	chosen := map[int]bool{}
	for _, e := range incumbents {
		chosen[e] = true
	}
	value := func(e int) float64 { return s[e] + float64(w.Bias[e]) }
	for {
		in, out := -1, -1 // worst incumbent, best outsider
		for e := range c.NumEncoders {
			if chosen[e] && (in < 0 || value(e) <= value(in)) {
				in = e
			}
			if !chosen[e] && (out < 0 || value(e) > value(out)) {
				out = e
			}
		}
		if out < 0 {
			break
		}
		lead := value(out) - value(in)
		if lead < c.Hysteresis || lead == c.Hysteresis && out > in {
			break
		}
		chosen[in], chosen[out] = false, true
	}
	slots := append([]int(nil), incumbents...)
	for slot, e := range incumbents {
		if chosen[e] {
			chosen[e] = false // keeps its slot
			continue
		}
		slots[slot] = -1
	}
	sum, gates := 0.0, make([]float64, len(slots))
	for slot := range slots {
		if slots[slot] < 0 {
			best := -1
			for e := range c.NumEncoders {
				if chosen[e] && (best < 0 || value(e) > value(best)) {
					best = e
				}
			}
			slots[slot], chosen[best] = best, false
		}
		sum += s[slots[slot]]
	}
	for slot, e := range slots {
		gates[slot] = s[e] / sum
	}
	return oracleStep{slots, gates}
}

// randomCase draws a configuration, weights and a text. Texts dwell on a few tokens
// for a while, so that topics change and encoders are swapped.
func randomCase(rng *rand.Rand, g router.Granularity, e, k int) (router.Config, router.Weights, []int32) {
	c := router.Config{
		NumEncoders: e, EncodersPerToken: k, Granularity: g,
		ChunkLength:      1 + rng.IntN(9),
		SequenceDecision: 1 + rng.IntN(60),
		Dim:              1 + rng.IntN(9),
		HalfLives:        []float64{3, 11.5, 40}[:1+rng.IntN(3)],
		Temperature:      []float64{0.5, 1, 2}[rng.IntN(3)],
		Hysteresis:       []float64{0, 0.02, 0.2}[rng.IntN(3)],
		DefaultEncoders:  rng.Perm(e)[:k],
	}
	const vocab = 20
	w := router.Weights{
		Embeddings: normal(rng, vocab*c.Dim, 0.02),
		Proj:       normal(rng, e*c.Features(), 1/math.Sqrt(float64(c.Features()))),
		Bias:       normal(rng, e, 0.05),
	}
	var ids []int32
	for len(ids) < 150 {
		topic := int32(rng.IntN(vocab - 3))
		for range 1 + rng.IntN(30) {
			ids = append(ids, topic+int32(rng.IntN(3)))
		}
	}
	return c, w, ids
}

func normal(rng *rand.Rand, n int, std float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * std)
	}
	return x
}
