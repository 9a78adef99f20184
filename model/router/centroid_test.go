package router

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestCentroids: a router that has learned nothing ranks the encoder of a held-out text's
// domain first, has about logit 2 there, and logit 0 on a mixture of all domains and from
// encoders without texts.
func TestCentroids(t *testing.T) {
	const dim, vocab, domains = 16, 200, 6
	rng := rand.New(rand.NewPCG(1, 2))
	cfg := Config{NumEncoders: domains + 1, EncodersPerToken: 1, Granularity: PerChunk, ChunkLength: 8, Dim: dim,
		HalfLives: []float64{16, 64}, Temperature: 0.5, DefaultEncoders: []int{0}}
	w := Weights{Embeddings: make([]float32, vocab*dim), Proj: make([]float32, (domains+1)*2*dim), Bias: make([]float32, domains+1)}
	for i := range w.Embeddings {
		w.Embeddings[i] = float32(rng.NormFloat64())
	}
	blank, err := New(cfg, w, vocab)
	if err != nil {
		t.Fatal(err)
	}
	texts := make([][][]int32, domains+1)
	for d := range domains {
		texts[d+1] = textsOf(d, 30, rng)
	}
	if w.Proj, err = blank.Centroids(texts); err != nil {
		t.Fatal(err)
	}
	again, err := blank.Centroids(texts)
	if err != nil || !slices.Equal(w.Proj, again) {
		t.Errorf("the same texts give other rows: %v", err)
	}
	r, err := New(cfg, w, vocab)
	if err != nil {
		t.Fatal(err)
	}
	var hits, all, own float64
	mean := make([]float64, domains+1)
	for d := range domains {
		err := r.decisions(textsOf(d, 20, rng), func(rho []float64) {
			z := make([]float64, domains+1)
			for e := range z {
				z[e] = dot(w.Proj[e*len(rho):][:len(rho)], rho) / cfg.Temperature
				mean[e] += z[e]
			}
			if z[0] != 0 {
				t.Fatalf("the encoder without texts has logit %v", z[0])
			}
			all++
			own += z[d+1]
			if slices.Max(z) == z[d+1] {
				hits++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%.3f right, own logit %.2f", hits/all, own/all)
	if hits/all < 0.8 {
		t.Errorf("%.3f of the decisions rank the domain's encoder first, want 0.8", hits/all)
	}
	if math.Abs(own/all-ownLogit) > 0.4 {
		t.Errorf("own logit %.2f, want about %d", own/all, ownLogit)
	}
	for e, z := range mean {
		if math.Abs(z/all) > 0.4 {
			t.Errorf("encoder %d has logit %.2f on all texts, want about 0", e, z/all)
		}
	}
	if _, err := blank.Centroids(append([][][]int32{{{vocab}}}, texts[1:]...)); err == nil {
		t.Error("an id outside the vocabulary is taken")
	}
}

// TestCentroidsAlike: domains that cannot be told apart have rows of zeros, not of rounding
// made large.
func TestCentroidsAlike(t *testing.T) {
	const dim, vocab = 16, 200
	rng := rand.New(rand.NewPCG(3, 4))
	cfg := Config{NumEncoders: 2, EncodersPerToken: 1, Granularity: PerChunk, ChunkLength: 8, Dim: dim,
		HalfLives: []float64{16, 64}, Temperature: 1, DefaultEncoders: []int{0}}
	w := Weights{Embeddings: make([]float32, vocab*dim), Proj: make([]float32, 2*2*dim), Bias: make([]float32, 2)}
	for i := range w.Embeddings {
		w.Embeddings[i] = float32(rng.NormFloat64())
	}
	r, err := New(cfg, w, vocab)
	if err != nil {
		t.Fatal(err)
	}
	same := textsOf(0, 7, rng)
	for _, texts := range [][][][]int32{{same, same}, {nil, nil}, {{{1, 2}}, same}} {
		proj, err := r.Centroids(texts)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range proj {
			if v != 0 {
				t.Fatalf("element %d is %v, want 0", i, v)
			}
		}
	}
}
