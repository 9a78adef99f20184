package trainer

import (
	"fmt"
	"math"
	"strings"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// AdamW holds the optimizer's constants. Those that a plan's file leaves out are the
// usual ones; what it names counts as it stands, 0 too. The zero value is all usual ones.
type AdamW struct {
	Beta1       float64 `json:"beta1"`        // usually 0.9
	Beta2       float64 `json:"beta2"`        // usually 0.95
	Epsilon     float64 `json:"epsilon"`      // usually 1e-8
	WeightDecay float64 `json:"weight_decay"` // usually 0.1, 0 is none; of matrices alone, see decays
	Clip        float64 `json:"clip"`         // usually 1: the gradient's global norm at most; 0 does not clip
}

// usualAdamW is what most train with.
var usualAdamW = AdamW{Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8, WeightDecay: 0.1, Clip: 1}

func (a AdamW) withDefaults() AdamW {
	if a == (AdamW{}) {
		return usualAdamW
	}
	return a
}

// faults says which constants cannot be used.
func (a AdamW) faults() (faults []error) {
	check := func(ok bool, name string, v float64, must string) {
		if !ok {
			faults = append(faults, fmt.Errorf("optimizer.%s: %v, must %s", name, v, must))
		}
	}
	check(a.Beta1 >= 0 && a.Beta1 < 1, "beta1", a.Beta1, "be from 0 to less than 1")
	check(a.Beta2 >= 0 && a.Beta2 < 1, "beta2", a.Beta2, "be from 0 to less than 1")
	check(a.Epsilon > 0, "epsilon", a.Epsilon, "be positive")
	check(a.WeightDecay >= 0, "weight_decay", a.WeightDecay, "not be negative")
	check(a.Clip >= 0, "clip", a.Clip, "not be negative")
	return faults
}

// decays reports whether a tensor is decayed: matrices are, but not A_log, D, biases,
// norms or the convolution.
func decays(name string) bool {
	for _, suffix := range []string{"_proj.weight", "embeddings.weight", "lm_head.weight", "router.proj.weight",
		"aggregator.q.weight", "aggregator.k.weight", "aggregator.quality.weight"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// adamStep is one step of AdamW (Loshchilov & Hutter 2019, Algorithm 2, with decay times
// the learning rate as in PyTorch) on gradients that are scaled down to a global norm.
// A gradient that is not finite changes nothing.
type adamStep struct {
	AdamW
	norm   *Node // of all gradients before clipping
	count  *Node // steps done with this one
	finite *Node // whether norm is
	clip   *Node // factor of the gradients
	bias   [2]*Node
}

// begin looks at all gradients; count, a scalar, are the steps done so far.
func (a AdamW) begin(grads []*Node, count *Node) adamStep {
	square := ScalarZero(count.Graph(), dtypes.Float32)
	for _, grad := range grads {
		square = Add(square, ReduceAllSum(Square(grad)))
	}
	s := adamStep{AdamW: a, norm: Sqrt(square)}
	s.finite = Equal(Sub(s.norm, s.norm), ScalarZero(count.Graph(), dtypes.Float32)) // false for NaN and infinity
	s.count = Add(count, ConvertDType(s.finite, dtypes.Float32))
	s.clip = ScalarOne(count.Graph(), dtypes.Float32)
	if a.Clip > 0 {
		s.clip = MinScalar(Div(Const(count.Graph(), float32(a.Clip)), MaxScalar(s.norm, 1e-12)), 1)
	}
	for i, beta := range []float64{a.Beta1, a.Beta2} { // 1 - beta^t, t >= 1
		s.bias[i] = OneMinus(Exp(MulScalar(MaxScalar(s.count, 1), math.Log(beta))))
	}
	return s
}

// step returns where a tensor goes down, for a learning rate of 1 and without decay, and
// its moments.
func (s adamStep) step(grad, m, v *Node) (step, newM, newV *Node) {
	grad = Mul(grad, s.clip)
	newM = Add(MulScalar(m, s.Beta1), MulScalar(grad, 1-s.Beta1))
	newV = Add(MulScalar(v, s.Beta2), MulScalar(Square(grad), 1-s.Beta2))
	step = Div(Div(newM, s.bias[0]), AddScalar(Sqrt(Div(newV, s.bias[1])), s.Epsilon))
	return step, s.keep(newM, m), s.keep(newV, v)
}

// keep returns now, or before where the gradient is not finite.
func (s adamStep) keep(now, before *Node) *Node {
	return Where(BroadcastToDims(s.finite, now.Shape().Dimensions...), now, before)
}

// Schedule is the learning rate over a phase.
type Schedule string

// The schedules.
const (
	Cosine Schedule = "cosine" // warm-up, then half a cosine down to the floor
	WSD    Schedule = "wsd"    // warm-up, stable, then a straight line to the floor over the last fifth
)

// rate returns the learning rate of step (from 0) of steps.
func (s Schedule) rate(step, steps, warmup int64, peak, floor float64) float64 {
	lr := peak
	if warmup > 0 {
		lr *= min(1, float64(step+1)/float64(warmup))
	}
	at := float64(step) / float64(max(1, steps))
	switch s {
	case WSD:
		const decay = 0.2
		if at > 1-decay {
			lr *= floor + (1-floor)*(1-at)/decay
		}
	default:
		lr *= floor + (1-floor)*0.5*(1+math.Cos(math.Pi*at))
	}
	return lr
}
