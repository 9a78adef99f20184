package router

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Row is what a router has of an encoder: one that [Router.Extend] found for a new one.
type Row struct {
	Proj   []float32 // row of W_z
	Bias   float32   // entry of b
	Own    float64   // share of the decisions about the new encoder's texts that put it among the best k
	Others float64   // the same about other texts; 0 where there are none
}

// Constants of Extend.
const (
	flips     = 0.02 // share of the other texts' decisions that the new row may change
	ownWeight = 0.2  // of the new encoder's texts in the fit; the rest is that of others, which are to keep theirs
	fitSteps  = 200
	fitDecay  = 1e-4 // of the squared row
	leastOdds = 1e-4 // a value that is to be surpassed counts as a score of at least this, and at most 1 less it
)

// example is a decision that the row of a new encoder is fitted to.
type example struct {
	rho    []float64
	mark   float64 // value of the k-th best encoder, which is to be surpassed, or not
	weight float64
	own    bool
}

// Extend finds the row of one more encoder, for texts like own and unlike others; no
// other row changes. It is a logistic regression: at a decision about its own texts
// the score of the new encoder is to surpass the value of the k-th best one, at others
// not. The bias is the hysteresis, so that it can displace one that runs, or less, so
// that it is among the best in at most 2 % of the other texts' decisions. Without other texts the
// rows of the present encoders say what these would be like, which is less sure.
func (r *Router) Extend(own, others [][]int32) (Row, error) {
	examples, err := r.examples(own, true)
	if err != nil {
		return Row{}, err
	}
	if len(examples) == 0 {
		return Row{}, errors.New("the new texts are shorter than a chunk; none is long enough for a decision")
	}
	against, err := r.examples(others, false)
	if err != nil {
		return Row{}, err
	}
	known := len(against) > 0
	if !known {
		against = r.typical(examples)
	}
	share(examples, ownWeight)
	share(against, 1-ownWeight)
	proj := r.fit(slices.Concat(examples, against))
	row := Row{Proj: make([]float32, len(proj)), Bias: float32(r.gate.hysteresis)}
	for i, w := range proj {
		row.Proj[i] = float32(w)
	}
	lacks := make([]float64, len(against)) // how much bias each needs to be changed
	for i, x := range against {
		lacks[i] = x.mark - r.gate.score(row.Proj, x.rho)
	}
	slices.Sort(lacks)
	if len(lacks) > 0 {
		row.Bias += float32(min(0, lacks[int(flips*float64(len(lacks)))]))
	}
	wins := func(examples []example) float64 {
		n := 0
		for _, x := range examples {
			if r.gate.score(row.Proj, x.rho)+float64(row.Bias) > x.mark+r.gate.hysteresis {
				n++
			}
		}
		return float64(n) / float64(len(examples))
	}
	row.Own = wins(examples)
	if known {
		row.Others = wins(against)
	}
	return row, nil
}

// score is s = sigmoid(w·ρ / τ).
func (g gate) score(w []float32, rho []float64) float64 {
	return 1 / (1 + math.Exp(-dot(w, rho)/g.temperature))
}

// examples are the decisions about some texts.
func (r *Router) examples(texts [][]int32, own bool) (out []example, err error) {
	err = r.decisions(texts, func(rho []float64) {
		out = append(out, example{rho: rho, mark: r.mark(rho), own: own})
	})
	return out, err
}

// decisions calls f with the features ρ of each decision about some texts.
func (r *Router) decisions(texts [][]int32, f func(rho []float64)) error {
	for _, ids := range texts {
		averages := make([]float64, r.cfg.Features())
		for at, id := range ids {
			if id < 0 || int(id) >= r.vocab {
				return fmt.Errorf("token id %d at position %d is outside the vocabulary, 0 to %d", id, at, r.vocab-1)
			}
			if r.cfg.decidesAt(at) {
				f(r.topic.features(averages, at))
			}
			r.topic.update(averages, id)
		}
	}
	return nil
}

// typical are examples that stand for texts of the present encoders: features of the
// new texts, moved to what an encoder looks for.
func (r *Router) typical(own []example) []example {
	var out []example
	n := r.cfg.Features()
	for i, x := range own {
		row := r.gate.proj[i%r.cfg.NumEncoders*n:][:n]
		var square float64
		for _, w := range row {
			square += float64(w) * float64(w)
		}
		if square == 0 {
			continue // an encoder that looks for nothing
		}
		rho := make([]float64, n)
		var moved float64
		for j, w := range row {
			rho[j] = x.rho[j] + float64(w)/math.Sqrt(square/float64(n))
			moved += rho[j] * rho[j]
		}
		for j := range rho {
			rho[j] /= math.Sqrt(moved / float64(n))
		}
		out = append(out, example{rho: rho, mark: r.mark(rho)})
	}
	return out
}

// mark is the value of the k-th best encoder.
func (r *Router) mark(rho []float64) float64 {
	values := r.gate.values(r.gate.scores(rho))
	slices.Sort(values)
	return values[len(values)-r.cfg.EncodersPerToken]
}

// share gives examples a weight together.
func share(examples []example, weight float64) {
	for i := range examples {
		examples[i].weight = weight / float64(len(examples))
	}
}

// fit minimises Σ weight·log(1+exp(∓(w·ρ/τ - logit(mark)))) + fitDecay/2·|w|² by
// Nesterov's accelerated gradient with the step that the curvature allows.
func (r *Router) fit(examples []example) []float64 {
	n, tau := r.cfg.Features(), r.gate.temperature
	offsets := make([]float64, len(examples))
	for i, x := range examples {
		mark := min(max(x.mark, leastOdds), 1-leastOdds)
		offsets[i] = math.Log(mark / (1 - mark))
	}
	step := 1 / (float64(n)/(4*tau*tau) + fitDecay) // |ρ|² is n
	w, before, grad := make([]float64, n), make([]float64, n), make([]float64, n)
	for t := range fitSteps {
		momentum := float64(t) / float64(t+3)
		for i := range w {
			w[i], before[i] = w[i]+momentum*(w[i]-before[i]), w[i]
			grad[i] = fitDecay * w[i]
		}
		for j, x := range examples {
			z := -offsets[j]
			for i, v := range x.rho {
				z += w[i] * v / tau
			}
			err := 1 / (1 + math.Exp(-z))
			if x.own {
				err--
			}
			for i, v := range x.rho {
				grad[i] += x.weight * err * v / tau
			}
		}
		for i := range w {
			w[i] -= step * grad[i]
		}
	}
	return w
}
