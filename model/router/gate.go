package router

import (
	"cmp"
	"math"
	"slices"

	"github.com/mamba-encoder-swarm/mes/internal/num"
)

// gate scores the encoders and chooses k of them.
type gate struct {
	proj        []float32 // W_z [E, features]
	bias        []float32 // b [E], added for the selection only
	temperature float64   // τ
	hysteresis  float64   // δ
}

// scores returns s = sigmoid(W_z ρ / τ) [E].
func (g gate) scores(rho []float64) []float64 {
	s := make([]float64, len(g.bias))
	for e := range s {
		z := dot(g.proj[e*len(rho):][:len(rho)], rho) / g.temperature
		s[e] = 1 / (1 + math.Exp(-z))
	}
	return s
}

// dot returns w·x in float64. Four sums run side by side; their order is fixed, so
// equal rows give equal bits.
func dot(w []float32, x []float64) float64 {
	x = x[:len(w)]
	var a, b, c, d float64
	i := 0
	for ; i+4 <= len(w); i += 4 {
		a += float64(w[i]) * x[i]
		b += float64(w[i+1]) * x[i+1]
		c += float64(w[i+2]) * x[i+2]
		d += float64(w[i+3]) * x[i+3]
	}
	for ; i < len(w); i++ {
		a += float64(w[i]) * x[i]
	}
	return (a + b) + (c + d)
}

// values returns s + b [E], by which encoders are ranked.
func (g gate) values(scores []float64) []float64 {
	v := make([]float64, len(scores))
	for e, s := range scores {
		v[e] = s + float64(g.bias[e])
	}
	return v
}

// choose returns the encoders for the slots [k] that follow the incumbents, and
// which slots changed: as long as the best outsider beats the worst incumbent, the
// two are swapped. Survivors keep their slot; newcomers fill the freed slots, lowest
// slot first, in order of their value.
//
// An outsider beats an incumbent if its value is more than δ higher, or exactly δ
// higher and its index lower. With δ = 0 the result is therefore the plain top k
// with ties to the lowest index.
func (g gate) choose(incumbents []int, values []float64) (slots []int, changed []bool) {
	k := len(incumbents)
	// Outsiders below the top k beat nobody: as many incumbents as the top k has
	// outsiders are outside it, and the rest are in it.
	outsiders := slices.DeleteFunc(num.TopK(values, k), func(e int) bool {
		return slices.Contains(incumbents, e)
	})
	worst := make([]int, k) // slots, the worst incumbent's first
	for slot := range worst {
		worst[slot] = slot
	}
	slices.SortFunc(worst, func(a, b int) int {
		return -compare(values, incumbents[a], incumbents[b])
	})
	// A newcomer is never swapped out again: no later outsider has a higher value. So
	// the loop pairs the i-th best outsider with the i-th worst incumbent.
	swaps := 0
	for swaps < len(outsiders) && g.beats(values, outsiders[swaps], incumbents[worst[swaps]]) {
		swaps++
	}
	slots, changed = slices.Clone(incumbents), make([]bool, k)
	freed := worst[:swaps]
	slices.Sort(freed)
	for i, slot := range freed {
		slots[slot], changed[slot] = outsiders[i], true
	}
	return slots, changed
}

// beats reports whether the outsider takes the incumbent's place.
func (g gate) beats(values []float64, outsider, incumbent int) bool {
	lead := values[outsider] - values[incumbent]
	return lead > g.hysteresis || lead == g.hysteresis && outsider < incumbent
}

// compare orders encoders a and b best first: by value, then by index.
func compare(values []float64, a, b int) int {
	return cmp.Or(cmp.Compare(values[b], values[a]), cmp.Compare(a, b))
}

// gates returns the weights of the slots [k], s_sel / Σ s_sel, and 1/k each if all
// their scores are zero.
func gates(slots []int, scores []float64) []float64 {
	var sum float64
	for _, e := range slots {
		sum += scores[e]
	}
	if sum == 0 {
		return equalGates(len(slots))
	}
	g := make([]float64, len(slots))
	for i, e := range slots {
		g[i] = scores[e] / sum
	}
	return g
}

// equalGates returns k times 1/k.
func equalGates(k int) []float64 {
	return slices.Repeat([]float64{1 / float64(k)}, k)
}

// explain lists the chosen encoders and the k best others, best first.
func (g gate) explain(slots []int, scores, values []float64) []Score {
	k := len(slots)
	others := slices.DeleteFunc(num.TopK(values, 2*k), func(e int) bool {
		return slices.Contains(slots, e)
	})
	listed := slices.Concat(slots, others[:min(k, len(others))])
	slices.SortFunc(listed, func(a, b int) int { return compare(values, a, b) })
	explained := make([]Score, len(listed))
	for i, e := range listed {
		explained[i] = Score{Encoder: e, Score: scores[e], Bias: float64(g.bias[e])}
	}
	return explained
}
