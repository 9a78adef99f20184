package swarm

import (
	"math"
	"math/rand/v2"
	"strings"
)

// Init draws the initial values of a tensor: the stack's as [mamba.Config.Init] does;
// the router's table N(0, 1) and projection N(0, 1/in), so that scores have unit
// variance; the aggregator's projections U(±1/√d); biases and qualities 0.
func (c Config) Init(spec TensorSpec, rng *rand.Rand) []float32 {
	if !strings.HasPrefix(spec.Name, "backbone.router.") && !strings.HasPrefix(spec.Name, "backbone.aggregator.") {
		return c.Base.Init(spec.Name, spec.Shape, rng)
	}
	values := make([]float32, spec.Elements())
	var draw func() float64
	switch strings.TrimPrefix(spec.Name, "backbone.") {
	case "router.embeddings.weight":
		draw = rng.NormFloat64
	case "router.proj.weight":
		draw = func() float64 { return rng.NormFloat64() / math.Sqrt(float64(spec.Shape[1])) }
	case "aggregator.q.weight", "aggregator.k.weight":
		draw = func() float64 { return (2*rng.Float64() - 1) / math.Sqrt(float64(spec.Shape[1])) }
	default:
		return values
	}
	for i := range values {
		values[i] = float32(draw())
	}
	return values
}

// Disturb returns values plus noise, N(0, noise · their root mean square).
func Disturb(values []float32, noise float64, rng *rand.Rand) []float32 {
	var square float64
	for _, v := range values {
		square += float64(v) * float64(v)
	}
	scale := noise * math.Sqrt(square/float64(len(values)))
	out := make([]float32, len(values))
	for i, v := range values {
		out[i] = v + float32(scale*rng.NormFloat64())
	}
	return out
}
