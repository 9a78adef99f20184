package trainer

import (
	"math"
	"strings"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// AdamW holds the optimizer's constants. Zero values mean those given.
type AdamW struct {
	Beta1       float64 `json:"beta1,omitzero"`        // 0.9
	Beta2       float64 `json:"beta2,omitzero"`        // 0.95
	Epsilon     float64 `json:"epsilon,omitzero"`      // 1e-8
	WeightDecay float64 `json:"weight_decay,omitzero"` // 0.1; of matrices alone, see decays
	Clip        float64 `json:"clip,omitzero"`         // 1: the gradient's global norm at most
}

func (a AdamW) withDefaults() AdamW {
	set := func(v *float64, value float64) {
		if *v == 0 {
			*v = value
		}
	}
	set(&a.Beta1, 0.9)
	set(&a.Beta2, 0.95)
	set(&a.Epsilon, 1e-8)
	set(&a.WeightDecay, 0.1)
	set(&a.Clip, 1)
	return a
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

// update is one step of AdamW (Loshchilov & Hutter 2019, Algorithm 2, with decay times
// the learning rate as in PyTorch) on gradients that are scaled down to a global norm.
// A gradient that is not finite changes nothing.
//
// p, grad, m, v: the tensors by name; count: a scalar, the steps done so far; rate
// multiplies a tensor's step with its learning rate, decay a tensor with its decay. Returns the new p, m, v in the same order, the norm before
// clipping, and the steps done now.
func (a AdamW) update(names []string, p, grad, m, v map[string]*Node, count *Node, rate, decay func(name string, x *Node) *Node) (newP, newM, newV []*Node, norm, done *Node) {
	var square *Node
	for _, name := range names {
		s := ReduceAllSum(Square(grad[name]))
		if square == nil {
			square = s
		} else {
			square = Add(square, s)
		}
	}
	norm = Sqrt(square)
	finite := Equal(Sub(norm, norm), ScalarZero(norm.Graph(), dtypes.Float32)) // false for NaN and infinity
	done = Add(count, ConvertDType(finite, dtypes.Float32))
	scale := MinScalar(Div(Const(norm.Graph(), float32(a.Clip)), MaxScalar(norm, 1e-12)), 1)
	correct := func(beta float64) *Node { // 1 - beta^t, t >= 1
		return OneMinus(Exp(MulScalar(MaxScalar(done, 1), math.Log(beta))))
	}
	correct1, correct2 := correct(a.Beta1), correct(a.Beta2)
	for _, name := range names {
		g := Mul(grad[name], scale)
		mNew := Add(MulScalar(m[name], a.Beta1), MulScalar(g, 1-a.Beta1))
		vNew := Add(MulScalar(v[name], a.Beta2), MulScalar(Square(g), 1-a.Beta2))
		step := Div(Div(mNew, correct1), AddScalar(Sqrt(Div(vNew, correct2)), a.Epsilon))
		if decays(name) {
			step = Add(step, decay(name, p[name]))
		}
		keep := func(now, before *Node) *Node {
			return Where(BroadcastToDims(finite, now.Shape().Dimensions...), now, before)
		}
		newP = append(newP, keep(Sub(p[name], rate(name, step)), p[name]))
		newM, newV = append(newM, keep(mNew, m[name])), append(newV, keep(vNew, v[name]))
	}
	return newP, newM, newV, norm, done
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
