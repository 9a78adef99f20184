package router

import "math"

// ownLogit is the mean logit of an encoder on its own texts that Centroids aims at:
// s = 0.88 there and ½ elsewhere, far from the ends where the sigmoid is flat.
const ownLogit = 2

// Centroids returns rows of W_z [E, features] by which a router that has learned nothing
// tells domains apart. texts are those of each encoder's domain.
//
// The row of an encoder is the difference of its centroid, the mean of ρ over all
// decisions about its texts, from the mean of the centroids. Of that the part along the
// mean is left out, so that a text like all others has logit 0, and all rows have one
// length, at which encoders have [ownLogit] on their own texts on average. An encoder
// without texts, such as a generalist, has a row of zeros: no text is more its own than
// another.
func (r *Router) Centroids(texts [][][]int32) ([]float32, error) {
	n := r.cfg.Features()
	centroids, mean, known := make([][]float64, r.cfg.NumEncoders), make([]float64, n), 0.0
	for e := range centroids {
		sum, decisions := make([]float64, n), 0.0
		err := r.decisions(texts[e], func(rho []float64) {
			decisions++
			addScaled(sum, 1, rho)
		})
		if err != nil {
			return nil, err
		}
		if decisions > 0 {
			centroids[e] = make([]float64, n)
			addScaled(centroids[e], 1/decisions, sum)
			addScaled(mean, 1, centroids[e])
			known++
		}
	}
	rows, own := make([][]float64, len(centroids)), 0.0
	for e, c := range centroids {
		rows[e] = make([]float64, n)
		if c == nil {
			continue
		}
		addScaled(rows[e], 1, c)
		addScaled(rows[e], -inner(c, mean)/inner(mean, mean), mean)
		if length := math.Sqrt(inner(rows[e], rows[e])); length > 1e-9*math.Sqrt(inner(c, c)) { // else it is rounding
			addScaled(rows[e], 1/length-1, rows[e])
			own += inner(rows[e], c) / known
		} else {
			clear(rows[e])
		}
	}
	proj := make([]float32, 0, len(rows)*n)
	for _, row := range rows {
		for _, w := range row {
			if own > 0 {
				w *= ownLogit * r.gate.temperature / own
			}
			proj = append(proj, float32(w))
		}
	}
	return proj, nil
}

// addScaled adds a·x to y.
func addScaled(y []float64, a float64, x []float64) {
	for i, v := range x {
		y[i] += a * v
	}
}

// inner is x·y.
func inner(x, y []float64) (sum float64) {
	for i, v := range x {
		sum += v * y[i]
	}
	return sum
}
