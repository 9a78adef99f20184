package router_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// TestLearnEqualsPlan: the plan of the training graph is the float64 plan of
// inference, but where two values are closer than 1e-4.
func TestLearnEqualsPlan(t *testing.T) {
	const V, B, n = 50, 3, 12
	for _, c := range []router.Config{
		{NumEncoders: 7, EncodersPerToken: 3, Granularity: router.PerChunk, ChunkLength: 4, Dim: 5, HalfLives: []float64{3, 20}, Temperature: 0.5, Hysteresis: 0.02, DefaultEncoders: []int{4, 0, 2}},
		{NumEncoders: 5, EncodersPerToken: 1, Granularity: router.PerToken, Dim: 4, HalfLives: []float64{2, 8}, Temperature: 0.3, DefaultEncoders: []int{2}},
		{NumEncoders: 4, EncodersPerToken: 2, Granularity: router.PerChunk, ChunkLength: 2, Dim: 3, HalfLives: []float64{2}, Temperature: 1, Hysteresis: 0.1, DefaultEncoders: []int{0, 1}},
	} {
		testkit.Backends(t, func(t *testing.T, b compute.Backend) {
			rng := rand.New(rand.NewPCG(9, uint64(c.NumEncoders)))
			w := router.Weights{Embeddings: normals(rng, V*c.Dim), Proj: normals(rng, c.NumEncoders*c.Features()), Bias: normals(rng, c.NumEncoders)}
			for i := range w.Bias {
				w.Bias[i] *= 0.05
			}
			T := n * c.NextDecision(0)
			ids := make([]int32, B*T)
			for i := range ids {
				ids[i] = int32(rng.IntN(V))
			}
			exec, err := NewExec(b, func(emb, proj, bias, ids *Node) (slots, gates *Node) {
				d := c.Learn(router.Learner{Embeddings: emb, Proj: proj, Bias: bias}, ids, nil)
				return d.Slots, d.Gates
			})
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Call(tensors.FromFlatDataAndDimensions(w.Embeddings, V, c.Dim), tensors.FromFlatDataAndDimensions(w.Proj, c.NumEncoders, c.Features()),
				tensors.FromFlatDataAndDimensions(w.Bias, c.NumEncoders), tensors.FromFlatDataAndDimensions(ids, B, T))
			if err != nil {
				t.Fatal(err)
			}
			slots, gates := tensors.MustCopyFlatData[float32](out[0]), tensors.MustCopyFlatData[float32](out[1])
			r, err := router.New(c, w, V)
			if err != nil {
				t.Fatal(err)
			}
			k, E, swapped := c.EncodersPerToken, c.NumEncoders, 0
			for row := range B {
				state, err := r.Start("")
				if err != nil {
					t.Fatal(err)
				}
				chunks, _, err := r.Plan(state, ids[row*T:][:T])
				if err != nil {
					t.Fatal(err)
				}
				for j, chunk := range chunks {
					for s, e := range chunk.Slots {
						at := (row*n+j)*k + s
						if slots[at*E+e] != 1 {
							t.Fatalf("text %d, chunk %d, slot %d: graph %v, plan %d", row, j, s, slots[at*E:][:E], e)
						}
						if math.Abs(float64(gates[at])-chunk.Gates[s]) > 1e-5 {
							t.Fatalf("text %d, chunk %d, slot %d: gate %v, plan %v", row, j, s, gates[at], chunk.Gates[s])
						}
						if chunk.Changed[s] {
							swapped++
						}
					}
				}
			}
			if swapped < B {
				t.Errorf("%d swaps in %d texts: the test shows nothing", swapped, B)
			}
		})
	}
}

func normals(rng *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(rng.NormFloat64())
	}
	return out
}
