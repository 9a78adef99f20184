// Package oracle is a slow float64 Mamba, one token at a time in plain loops,
// written from the papers: Gu & Dao 2023 (Mamba, Algorithm 2), Dao & Gu 2024
// (Mamba-2, equation 1 and figure 6), Zuo et al. 2024 (Falcon Mamba), with the
// gated norm and the tensor names of HuggingFace transformers. It shares no code
// with the graphs that it checks. Only tests import it.
package oracle

import (
	"math"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// Weights gives a tensor's values, row-major, by its name within a layer or model.
type Weights func(name string) []float64

// In returns the weights below a prefix such as "layers.3.".
func (w Weights) In(prefix string) Weights {
	return func(name string) []float64 { return w(prefix + name) }
}

// State is what a layer remembers of one sequence.
type State struct {
	Conv [][]float64 // the last K-1 inputs of the convolution, oldest first, each [ConvDim]
	SSM  [][]float64 // Mamba-1: [di][N]; Mamba-2: [H·P][N]
}

// NewState returns the state before the first token.
func NewState(c mamba.Config) *State {
	s := &State{}
	for range c.DConv - 1 {
		s.Conv = append(s.Conv, make([]float64, c.ConvDim()))
	}
	for range c.DInner() {
		s.SSM = append(s.SSM, make([]float64, c.DState))
	}
	return s
}

// Block takes one token through a pre-norm residual layer, x + mixer(norm(x)·w),
// and updates the state. x: [d]; returns [d].
func Block(c mamba.Config, w Weights, x []float64, s *State) []float64 {
	p := project(w, "mixer.in_proj", RMSNorm(x, w("norm.weight"), c.NormEps), c.UseBias)
	var y []float64
	if c.Kind == mamba.Mamba2 {
		y = mamba2(c, w, p, s)
	} else {
		y = mamba1(c, w, p, s)
	}
	return add(x, project(w, "mixer.out_proj", y, c.UseBias))
}

// mamba1 is the S6 mixer between the projections. p: [2di]; returns [di].
func mamba1(c mamba.Config, w Weights, p []float64, s *State) []float64 {
	di, N, R := c.DInner(), c.DState, c.DTRank
	a, z := conv(c, w, p[:di], s), p[di:]
	dbc := project(w, "mixer.x_proj", a, false)
	dt, B, C := dbc[:R], dbc[R:R+N], dbc[R+N:]
	if c.Kind == mamba.Falcon {
		dt, B, C = RMSNorm(dt, nil, c.MixerNormEps), RMSNorm(B, nil, c.MixerNormEps), RMSNorm(C, nil, c.MixerNormEps)
	}
	delta := project(w, "mixer.dt_proj", dt, true)
	aLog, D := w("mixer.A_log"), w("mixer.D")
	y := make([]float64, di)
	for i := range di {
		step := softplus(delta[i])
		for n := range N {
			s.SSM[i][n] = math.Exp(-step*math.Exp(aLog[i*N+n]))*s.SSM[i][n] + step*B[n]*a[i]
			y[i] += C[n] * s.SSM[i][n]
		}
		y[i] = (y[i] + D[i]*a[i]) * silu(z[i])
	}
	return y
}

// mamba2 is the SSD mixer between the projections, as the recurrence. p:
// [2di+2GN+H]; returns [di].
func mamba2(c mamba.Config, w Weights, p []float64, s *State) []float64 {
	di, G, N, H, P := c.DInner(), c.NGroups, c.DState, c.NHeads, c.HeadDim
	z, xBC, dt := p[:di], conv(c, w, p[di:di+c.ConvDim()], s), p[di+c.ConvDim():]
	x, B, C := xBC[:di], xBC[di:di+G*N], xBC[di+G*N:]
	dtBias, aLog, D := w("mixer.dt_bias"), w("mixer.A_log"), w("mixer.D")
	y := make([]float64, di)
	for h := range H {
		step := min(max(softplus(dt[h]+dtBias[h]), c.TimeStepLimit[0]), c.TimeStepLimit[1])
		keep := math.Exp(-step * math.Exp(aLog[h]))
		group := h / (H / G) * N
		for i := h * P; i < (h+1)*P; i++ {
			for n := range N {
				s.SSM[i][n] = keep*s.SSM[i][n] + step*B[group+n]*x[i]
				y[i] += C[group+n] * s.SSM[i][n]
			}
			y[i] += D[h] * x[i]
		}
	}
	return gate(c, w, y, z)
}

// gate multiplies y by silu(z) and normalises groups of channels after or before.
func gate(c mamba.Config, w Weights, y, z []float64) []float64 {
	out := make([]float64, len(y))
	for i := range y {
		out[i] = y[i]
		if !c.RMSNorm || !c.NormBeforeGate {
			out[i] *= silu(z[i])
		}
	}
	if !c.RMSNorm {
		return out
	}
	size, weight := c.NormGroupSize, w("mixer.norm.weight")
	if size == 0 {
		size = len(y)
	}
	for from := 0; from < len(y); from += size {
		copy(out[from:], RMSNorm(out[from:from+size], weight[from:from+size], c.NormEps))
	}
	if c.NormBeforeGate {
		for i := range out {
			out[i] *= silu(z[i])
		}
	}
	return out
}

// conv is the causal depthwise convolution and SiLU. x: [ConvDim]; returns the same.
func conv(c mamba.Config, w Weights, x []float64, s *State) []float64 {
	weight, window := w("mixer.conv1d.weight"), append(s.Conv, x)
	y := make([]float64, len(x))
	for i := range x {
		for k := range c.DConv {
			y[i] += weight[i*c.DConv+k] * window[k][i]
		}
		if c.UseConvBias {
			y[i] += w("mixer.conv1d.bias")[i]
		}
		y[i] = silu(y[i])
	}
	s.Conv = window[1:]
	return y
}

// Head applies the final norm and a head [V, d]. x: [d]; returns the logits [V].
func Head(c mamba.Config, norm, head, x []float64) []float64 {
	return MatVec(head, RMSNorm(x, norm, c.NormEps))
}

// RMSNorm divides x by its root mean square; a nil weight is all ones.
func RMSNorm(x, weight []float64, eps float64) []float64 {
	square := 0.0
	for _, v := range x {
		square += v * v
	}
	scale := 1 / math.Sqrt(square/float64(len(x))+eps)
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v * scale
		if weight != nil {
			out[i] *= weight[i]
		}
	}
	return out
}

// project is W x (+ b) with W = name.weight.
func project(w Weights, name string, x []float64, bias bool) []float64 {
	y := MatVec(w(name+".weight"), x)
	if bias {
		y = add(y, w(name+".bias"))
	}
	return y
}

// MatVec is W x for W [out, in] and x [in].
func MatVec(w, x []float64) []float64 {
	y := make([]float64, len(w)/len(x))
	for r := range y {
		for i, v := range x {
			y[r] += w[r*len(x)+i] * v
		}
	}
	return y
}

// Float64s widens values.
func Float64s(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

func add(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] + b[i]
	}
	return out
}

func silu(x float64) float64 { return x / (1 + math.Exp(-x)) }

func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }
