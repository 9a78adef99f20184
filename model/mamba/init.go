package mamba

import (
	"math"
	"math/rand/v2"
	"strings"
)

// Floor of delta at initialisation, and the range it is drawn from.
const (
	deltaMin   = 1e-3
	deltaMax   = 1e-1
	deltaFloor = 1e-4
)

// Init draws the initial values of a tensor, by its name and shape, as the
// official implementation does: embeddings N(0, 0.02), matrices U(±1/√in) with
// out_proj divided by √L, dt_proj U(±1/√R), biases such that delta is log-uniform
// in [0.001, 0.1], A_log = log(1..N) (Mamba-1) or log U(1, 16) (Mamba-2), D and
// norms 1. The same generator state gives the same values.
func (c Config) Init(name string, shape []int, rng *rand.Rand) []float32 {
	n := TensorSpec{Shape: shape}.Elements()
	out := make([]float32, n)
	fill := func(f func(i int) float64) []float32 {
		for i := range out {
			out[i] = float32(f(i))
		}
		return out
	}
	uniform := func(bound float64) []float32 {
		return fill(func(int) float64 { return bound * (2*rng.Float64() - 1) })
	}
	inverseSoftplus := func(int) float64 {
		delta := math.Exp(math.Log(deltaMin) + rng.Float64()*(math.Log(deltaMax)-math.Log(deltaMin)))
		delta = max(delta, deltaFloor)
		return delta + math.Log(-math.Expm1(-delta))
	}
	switch {
	case strings.HasSuffix(name, "embeddings.weight"), strings.HasSuffix(name, "lm_head.weight"):
		return fill(func(int) float64 { return 0.02 * rng.NormFloat64() })
	case strings.HasSuffix(name, "norm.weight"), strings.HasSuffix(name, "norm_f.weight"), strings.HasSuffix(name, ".D"):
		return fill(func(int) float64 { return 1 })
	case strings.HasSuffix(name, "dt_proj.bias"), strings.HasSuffix(name, "dt_bias"):
		return fill(inverseSoftplus)
	case strings.HasSuffix(name, "A_log") && c.Kind == Mamba2:
		return fill(func(int) float64 { return math.Log(1 + 15*rng.Float64()) })
	case strings.HasSuffix(name, "A_log"):
		return fill(func(i int) float64 { return math.Log(float64(i%c.DState + 1)) })
	case strings.HasSuffix(name, "dt_proj.weight"):
		return uniform(1 / math.Sqrt(float64(c.DTRank)))
	case strings.HasSuffix(name, "conv1d.bias"):
		return uniform(1 / math.Sqrt(float64(c.DConv)))
	case strings.HasSuffix(name, ".bias"):
		return out
	case strings.HasSuffix(name, "out_proj.weight"):
		return uniform(1 / math.Sqrt(float64(shape[1])*float64(c.NLayer)))
	}
	return uniform(1 / math.Sqrt(float64(n/shape[0])))
}
