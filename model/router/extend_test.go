package router

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// textsOf draws texts of a domain: most ids are of its own tenth of the vocabulary.
func textsOf(domain, n int, rng *rand.Rand) [][]int32 {
	out := make([][]int32, n)
	for i := range out {
		for range 128 {
			id := rng.IntN(200)
			if rng.Float64() < 0.7 {
				id = domain*20 + rng.IntN(20)
			}
			out[i] = append(out[i], int32(id))
		}
	}
	return out
}

// TestExtend: a new encoder is chosen for its own texts, held-out ones, and the plans of others stay
// as they are but for a few, whether texts of theirs were shown or not.
func TestExtend(t *testing.T) {
	const dim, vocab, known = 16, 200, 4
	rng := rand.New(rand.NewPCG(1, 2))
	cfg := Config{NumEncoders: 1, EncodersPerToken: 1, Granularity: PerChunk, ChunkLength: 8, Dim: dim,
		HalfLives: []float64{16, 64}, Temperature: 1, Hysteresis: 0.02, DefaultEncoders: []int{0}}
	w := Weights{Embeddings: make([]float32, vocab*dim)}
	for i := range w.Embeddings {
		w.Embeddings[i] = float32(rng.NormFloat64())
	}
	// Each known encoder looks for the difference of its domain from the mean; encoder 0
	// is never wanted.
	w.Proj, w.Bias = make([]float32, 2*dim*(known+1)), make([]float32, known+1)
	cfg.NumEncoders = known + 1
	blank, err := New(cfg, w, vocab)
	if err != nil {
		t.Fatal(err)
	}
	var shown [][]int32
	for d := range known {
		texts := textsOf(d, 30, rng)
		shown = append(shown, texts...)
		examples, err := blank.examples(texts, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range examples {
			for i, v := range x.rho {
				for e := range known {
					share := float64(-1)
					if e == d {
						share = known - 1
					}
					w.Proj[(e+1)*2*dim+i] += float32(share * v / float64(known*len(examples)))
				}
			}
		}
	}
	add := func(domain int, others [][]int32) Row {
		r, err := New(cfg, w, vocab)
		if err != nil {
			t.Fatal(err)
		}
		row, err := r.Extend(textsOf(domain, 30, rng), others)
		if err != nil {
			t.Fatal(err)
		}
		w.Proj, w.Bias = append(slices.Clip(w.Proj), row.Proj...), append(slices.Clip(w.Bias), row.Bias)
		cfg.NumEncoders++
		return row
	}
	base, baseCfg := w, cfg
	before, err := New(cfg, w, vocab)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		others   [][]int32
		own, max float64
	}{"shown": {shown, 0.9, 0.05}, "not shown": {nil, 0.8, 0.12}} {
		w, cfg = base, baseCfg
		row := add(known, tt.others)
		after, err := New(cfg, w, vocab)
		if err != nil {
			t.Fatal(err)
		}
		chosen, all := 0, 0
		for _, ids := range textsOf(known, 20, rng) {
			for _, c := range planOf(t, after, ids)[3:] {
				all++
				if c.Slots[0] == cfg.NumEncoders-1 {
					chosen++
				}
			}
		}
		if got := float64(chosen) / float64(all); got < tt.own {
			t.Errorf("%s: own texts have the new encoder in %.3f of their chunks, want %.2f; %+.3f in the fit", name, got, tt.own, row.Own)
		}
		changed, all := 0, 0
		for d := range known {
			for _, ids := range textsOf(d, 20, rng) {
				was, is := planOf(t, before, ids), planOf(t, after, ids)
				for i := range was {
					all++
					if !slices.Equal(was[i].Slots, is[i].Slots) {
						changed++
					}
				}
			}
		}
		if got := float64(changed) / float64(all); got > tt.max {
			t.Errorf("%s: %.3f of the other texts' chunks changed, want at most %.2f", name, got, tt.max)
		}
		t.Logf("%s: own %.3f others %.4f, plans changed %d of %d", name, row.Own, row.Others, changed, all)
	}
	r, err := New(baseCfg, base, vocab)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Extend([][]int32{{1, 2}}, nil); err == nil {
		t.Error("texts without a decision are taken")
	}
	if _, err := r.Extend([][]int32{{1, 2, vocab}}, nil); err == nil {
		t.Error("an id outside the vocabulary is taken")
	}
}

func planOf(t *testing.T, r *Router, ids []int32) []Chunk {
	t.Helper()
	s, err := r.Start("")
	if err != nil {
		t.Fatal(err)
	}
	chunks, _, err := r.Plan(s, ids)
	if err != nil {
		t.Fatal(err)
	}
	return chunks
}
