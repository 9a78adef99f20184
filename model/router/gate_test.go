package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/internal/num"
)

func TestChoose(t *testing.T) {
	tests := []struct {
		name       string
		hysteresis float64
		values     []float64
		incumbents []int
		want       []int
	}{
		{"survivors keep their slot", 0, []float64{.9, .1, .8, .2}, []int{1, 0}, []int{2, 0}},
		{"newcomers in order of value, lowest freed slot first", 0, []float64{.1, .9, .2, .7, .8}, []int{2, 1, 0}, []int{4, 1, 3}},
		{"all change", 0, []float64{.1, .2, .8, .9}, []int{0, 1}, []int{3, 2}},
		{"ties go to the lowest indices", 0, []float64{.5, .5, .5, .5, .5}, []int{4, 1, 3}, []int{0, 1, 2}},
		{"exactly delta, lower index", 0.25, []float64{.75, .5}, []int{1}, []int{0}},
		{"exactly delta, higher index", 0.25, []float64{.5, .75}, []int{0}, []int{0}},
		{"only the worst is beaten", 0.25, []float64{.5, .125, .625, .5}, []int{0, 1}, []int{0, 2}},
		// 4 takes the place of 0; then 3 leads the worst, 1, by 0.2 only.
		{"swaps stop at the first lead too small", 0.25, []float64{.1, .4, .9, .6, .7}, []int{0, 1, 2}, []int{4, 1, 2}},
		{"k = E never changes", 0, []float64{.1, .9, .5}, []int{2, 0, 1}, []int{2, 0, 1}},
		{"one encoder", 0, []float64{.1}, []int{0}, []int{0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			slots, changed := gate{hysteresis: tt.hysteresis}.choose(tt.incumbents, tt.values)
			if diff := cmp.Diff(tt.want, slots); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
			for slot := range slots {
				if changed[slot] != (tt.want[slot] != tt.incumbents[slot]) {
					t.Errorf("changed %v from %v to %v", changed, tt.incumbents, slots)
				}
			}
		})
	}
}

// Without hysteresis the incumbents have no say: the set is the plain top k. The
// values come from few levels, so that ties are frequent.
func TestChooseWithoutHysteresisIsTopK(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		e := 1 + rng.IntN(12)
		k := 1 + rng.IntN(e)
		values := make([]float64, e)
		for i := range values {
			values[i] = float64(rng.IntN(5)) / 4
		}
		incumbents := rng.Perm(e)[:k]
		slots, _ := gate{}.choose(incumbents, values)
		got, want := slices.Sorted(slices.Values(slots)), slices.Sorted(slices.Values(num.TopK(values, k)))
		if !slices.Equal(got, want) {
			t.Fatalf("values %v, incumbents %v: chose %v, top %d is %v", values, incumbents, got, k, want)
		}
	}
}

func TestGates(t *testing.T) {
	tests := []struct {
		name   string
		scores []float64
		want   []float64
	}{
		{"shares of the chosen", []float64{.2, .9, .6}, []float64{.75, .25}},
		{"all zero", []float64{0, .9, 0}, []float64{.5, .5}},
		{"one zero", []float64{0, .9, .5}, []float64{1, 0}},
		{"smallest positive number", []float64{5e-324, 1, 5e-324}, []float64{.5, .5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i, g := range gates([]int{2, 0}, tt.scores) {
				if math.Abs(g-tt.want[i]) > 1e-15 {
					t.Errorf("gate %d is %v, want %v", i, g, tt.want[i])
				}
			}
		})
	}
}

// A text of one token repeated has that token's embedding as every average, however
// long it is; the recurrence must not drift from it.
func TestAveragesDoNotDrift(t *testing.T) {
	c := Config{Dim: 3, HalfLives: []float64{0.5, 16, 128, 1024, 1e6}}
	embeddings := []float32{0.02, -0.3, 7}
	tp := newTopic(c, embeddings)
	averages := make([]float64, c.Features())
	for n := 1; n <= 300_000; n++ {
		tp.update(averages, 0)
		if n != 1 && n != 1000 && n != 300_000 {
			continue
		}
		for i, r := range averages {
			want := float64(embeddings[i%3])
			if got := r / mass(n, c.HalfLives[i/3]); math.Abs(got-want) > 1e-10*math.Abs(want) {
				t.Errorf("after %d tokens average %d is %v, want %v", n, i, got, want)
			}
		}
	}
}

func TestDot(t *testing.T) {
	w, x := []float32{1, 2, 3, 4, 5, 6, 7}, []float64{1, 10, 100, 1e3, 1e4, 1e5, 1e6}
	want := 0.0
	for n := range len(w) + 1 {
		if n > 0 {
			want += float64(w[n-1]) * x[n-1]
		}
		if got := dot(w[:n], x[:n]); got != want {
			t.Errorf("dot of %d elements is %v, want %v", n, got, want)
		}
	}
}

// benchmarkRouter has the default sizes: dim 64, three averages.
func benchmarkRouter(b *testing.B, e int, g Granularity) (*Router, State, []int32) {
	rng := rand.New(rand.NewPCG(3, 4))
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64()) * 0.1
		}
		return x
	}
	const vocab = 4096
	k := min(e, 3)
	if e == 1000 {
		k = 10
	}
	c := Config{NumEncoders: e, EncodersPerToken: k, Granularity: g, ChunkLength: 64, Dim: 64,
		HalfLives: []float64{16, 128, 1024}, Temperature: 1, Hysteresis: 0.02}
	for i := range k {
		c.DefaultEncoders = append(c.DefaultEncoders, i)
	}
	r, err := New(c, Weights{random(vocab * 64), random(e * c.Features()), random(e)}, vocab)
	if err != nil {
		b.Fatal(err)
	}
	s, err := r.Start("")
	if err != nil {
		b.Fatal(err)
	}
	ids := make([]int32, 2048)
	for i := range ids {
		ids[i] = int32(rng.IntN(vocab))
	}
	return r, s, ids
}

// BenchmarkPlan plans a prompt of 2048 tokens in one call.
func BenchmarkPlan(b *testing.B) {
	for _, g := range []Granularity{PerChunk, PerToken} {
		for _, e := range []int{5, 16, 100, 1000} {
			b.Run(fmt.Sprintf("%s/E=%d", g, e), func(b *testing.B) {
				r, s, ids := benchmarkRouter(b, e, g)
				for b.Loop() {
					if _, _, err := r.Plan(s, ids); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(ids)*b.N)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}

// BenchmarkStep plans one token at a time, as decoding does.
func BenchmarkStep(b *testing.B) {
	for _, e := range []int{5, 1000} {
		b.Run(fmt.Sprintf("E=%d", e), func(b *testing.B) {
			r, s, ids := benchmarkRouter(b, e, PerChunk)
			for i := 0; b.Loop(); i++ {
				var err error
				if _, s, err = r.Plan(s, ids[i%len(ids):][:1]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecide makes one decision.
func BenchmarkDecide(b *testing.B) {
	for _, e := range []int{5, 16, 100, 1000} {
		b.Run(fmt.Sprintf("E=%d", e), func(b *testing.B) {
			r, s, ids := benchmarkRouter(b, e, PerChunk)
			_, s, err := r.Plan(s, ids)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				r.decide(&s)
			}
		})
	}
}
