package trainer

import (
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// TestMain lets XLA compile without optimising: nearly all of these tests' time would go
// into machine code that runs for a few steps.
func TestMain(m *testing.M) {
	if os.Getenv("XLA_FLAGS") == "" {
		os.Setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
	}
	os.Exit(m.Run())
}

// tiny is a swarm of four encoders of which two run, on one of two layers.
func tiny(kind mamba.Kind) swarm.Config {
	c := plain(kind)
	c.NumEncoderLayers, c.EncoderState, c.Fusion, c.AggregatorDim = 1, swarm.Handoff, swarm.FuseAttention, 4
	c.Router = router.Config{NumEncoders: 4, EncodersPerToken: 2, Granularity: router.PerChunk, ChunkLength: 4, Dim: 4,
		HalfLives: []float64{2, 8}, Temperature: 1, Hysteresis: 0.02, DefaultEncoders: []int{0, 1}}
	return c
}

// plain is a Mamba of two layers.
func plain(kind mamba.Kind) swarm.Config {
	base := mamba.Config{Kind: kind, VocabSize: 29, DModel: 8, NLayer: 2, DState: 4, DConv: 3, Expand: 2, DTRank: 2,
		UseConvBias: true, NormEps: 1e-5, TieWordEmbedding: true}
	if kind == mamba.Mamba2 {
		base.NHeads, base.HeadDim, base.NGroups, base.RMSNorm = 4, 4, 2, true
		base.NormGroupSize, base.TimeStepLimit = 8, [2]float64{0, math.Inf(1)}
	}
	return swarm.Config{Base: base, Router: router.Config{NumEncoders: 1, EncodersPerToken: 1}}
}

func tinyBatch(c swarm.Config, B, T int) rowsOfBatch {
	rng := rand.New(rand.NewPCG(5, 5))
	b := rowsOfBatch{ids: make([]int32, B*(T+1)), encoder: make([]int32, B), runs: make([]int32, B), weight: make([]float32, B)}
	for i := range b.ids {
		b.ids[i] = int32(rng.IntN(c.Base.VocabSize))
	}
	for i := range b.encoder {
		b.encoder[i], b.weight[i] = int32(i%4), 1
	}
	b.encoder[B-1] = -1
	copy(b.runs, b.encoder)
	return b
}

func tinyLearner(t *testing.T, b compute.Backend, c swarm.Config, edit func(*learnerConfig)) *learner {
	t.Helper()
	cfg := learnerConfig{Model: c, Trainable: func(string) bool { return true }, SeqLen: 16, Batch: 3, Devices: 1,
		Optimizer: usualAdamW, Losses: Losses{Balance: 1e-2, Z: 1e-3, Aggregator: 0.1, Domain: 0.1}, Learn: swarm.LearnConfig{Capacity: 4}, owned: []bool{true, true, true, true}}
	if edit != nil {
		edit(&cfg)
	}
	l, err := newLearner(b, cfg, Init(c, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

// TestLearns: the loss of a batch that is seen again and again falls, and every tensor
// moves.
func TestLearns(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for name, c := range map[string]swarm.Config{"plain mamba2": plain(mamba.Mamba2), "swarm mamba2": tiny(mamba.Mamba2), "swarm mamba": tiny(mamba.Mamba1)} {
			t.Run(name, func(t *testing.T) {
				l := tinyLearner(t, b, c, nil)
				before, err := l.params()
				if err != nil {
					t.Fatal(err)
				}
				batch := tinyBatch(c, l.Batch, l.SeqLen)
				var losses []float64
				for range 20 {
					r, err := l.step([]rowsOfBatch{batch}, 0.01)
					if err != nil {
						t.Fatal(err)
					}
					losses = append(losses, r.stats[statCE])
				}
				if first, last := losses[0], losses[len(losses)-1]; !(last < first-0.5) {
					t.Errorf("cross-entropy from %.3f to %.3f, want it to fall", first, last)
				}
				after, err := l.params()
				if err != nil {
					t.Fatal(err)
				}
				for name, p := range before {
					moved := false
					for i, v := range p.Values {
						moved = moved || v != after[name].Values[i]
					}
					if moved == (name == balanceBias) && !strings.Contains(name, "encoders.") {
						t.Errorf("%s moved: %v", name, moved)
					}
				}
			})
		}
	})
}
