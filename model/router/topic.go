package router

import "math"

// topic turns the tokens seen so far into the features that the gate reads: leaky
// averages of their router embeddings, one per half-life, so that the short ones
// follow the subject of the last sentences and the long ones that of the document.
type topic struct {
	dim        int
	embeddings []float32 // W_R [V, Dim]
	halfLives  []float64 // tokens after which a token's weight has halved
	lambda     []float64 // λ = 2^(-1/h), what an average keeps at each token
	rest       []float64 // 1 - λ, without the cancellation
}

func newTopic(c Config, embeddings []float32) topic {
	t := topic{dim: c.Dim, embeddings: embeddings, halfLives: c.HalfLives}
	for _, h := range c.HalfLives {
		t.lambda = append(t.lambda, math.Exp2(-1/h))
		t.rest = append(t.rest, mass(1, h))
	}
	return t
}

// mass returns 1 - λ^n for half-life h: the sum of the weights that a leaky average
// has given to n tokens.
func mass(n int, h float64) float64 { return -math.Expm1(-float64(n) * math.Ln2 / h) }

// update takes one token into the averages [M*Dim]: r = λ r + (1-λ) W_R[id].
func (t topic) update(averages []float64, id int32) {
	row := t.embeddings[int(id)*t.dim:][:t.dim]
	for m, lambda := range t.lambda {
		rest := t.rest[m]
		r := averages[m*t.dim:][:t.dim]
		for i, w := range row {
			r[i] = lambda*r[i] + rest*float64(w)
		}
	}
}

// features returns ρ [M*Dim] after n >= 1 tokens: the averages, each divided by the
// mass it holds, concatenated and divided by their root mean square. Averages that
// are all zero stay zero.
func (t topic) features(averages []float64, n int) []float64 {
	rho := make([]float64, len(averages))
	var square float64
	for m, h := range t.halfLives {
		held := mass(n, h)
		for i := m * t.dim; i < (m+1)*t.dim; i++ {
			rho[i] = averages[i] / held
			square += rho[i] * rho[i]
		}
	}
	if square == 0 {
		return rho
	}
	rms := math.Sqrt(square / float64(len(rho)))
	for i := range rho {
		rho[i] /= rms
	}
	return rho
}
