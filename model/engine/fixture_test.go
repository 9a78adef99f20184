package engine

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/gomlx/compute/dtypes"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// tinyConfig is a swarm over the 260 ids of tinyTokenizer and four that no token has.
func tinyConfig() swarm.Config {
	base := mamba.Config{Kind: mamba.Mamba2, VocabSize: 264, DModel: 16, NLayer: 2, DState: 4, DConv: 4, Expand: 2,
		NHeads: 4, HeadDim: 8, NGroups: 1, NormGroupSize: 32, ChunkSize: 8, RMSNorm: true, UseConvBias: true,
		NormEps: 1e-5, TieWordEmbedding: true}
	base.TimeStepLimit[1] = 1e9
	return swarm.Config{Base: base, NumEncoderLayers: 1, EncoderState: swarm.Handoff, Fusion: swarm.FuseAttention, AggregatorDim: 4,
		Router: router.Config{NumEncoders: 5, EncodersPerToken: 2, Granularity: router.PerChunk, ChunkLength: 6, Dim: 4, SequenceDecision: 10,
			HalfLives: []float64{2, 8}, Temperature: 0.5, Hysteresis: 0.02, DefaultEncoders: []int{0, 1},
			Domains: []string{"prose", "code", "law", "verse", "maths"}}}
}

// plain is the same stack without encoders.
func plain(c swarm.Config) swarm.Config {
	return swarm.Config{Base: c.Base, Router: router.Config{NumEncoders: 1, EncodersPerToken: 1}}
}

// weights is a checkpoint in memory.
type weights map[string]tensor

type tensor struct {
	shape  []int
	values []float32
}

func (w weights) Info(name string) (dtypes.DType, []int, error) {
	t, ok := w[name]
	if !ok {
		return dtypes.InvalidDType, nil, swarm.ErrNoTensor
	}
	return dtypes.Float32, t.shape, nil
}

func (w weights) Read(name string, dst []byte) error {
	values := w[name].values
	copy(dst, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values)))
	return nil
}

func (w weights) Release([]string) {}

// randomWeights draws a model whose greedy text does not repeat one token.
func randomWeights(c swarm.Config, seed uint64) weights {
	rng := rand.New(rand.NewPCG(seed, 0))
	w := weights{}
	for _, spec := range c.Tensors() {
		values := c.Base.Init(spec.Name, spec.Shape, rng)
		for i := range values {
			switch {
			case strings.HasPrefix(spec.Name, "backbone.router.embeddings"):
				values[i] *= 50
			case strings.HasSuffix(spec.Name, "embeddings.weight"):
				values[i] *= 30
			case strings.HasSuffix(spec.Name, "out_proj.weight"):
				values[i] *= 3
			}
		}
		w[spec.Name] = tensor{spec.Shape, values}
	}
	return w
}

// tinyTokenizer has 256 bytes, <|endoftext|> (0), which begins every text, <|pad|>
// (1), and two learnt tokens.
func tinyTokenizer(t testing.TB) tokenizer.Tokenizer {
	t.Helper()
	var texts iter.Seq2[string, error] = func(yield func(string, error) bool) { yield("the cat and the hat and the mat", nil) }
	learnt, err := tokenizer.Train(context.Background(), texts, tokenizer.TrainConfig{VocabSize: 260, MinFrequency: 2,
		SpecialTokens: []string{"<|endoftext|>", "<|pad|>"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := learnt.Save(dir); err != nil {
		t.Fatal(err)
	}
	return loadTokenizer(t, dir)
}

func loadTokenizer(t testing.TB, dir string) tokenizer.Tokenizer {
	t.Helper()
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tok.Close() })
	return tok
}

// newEngine loads a model and makes an engine of it and the tiny tokenizer, unless
// cfg has another.
func newEngine(t testing.TB, c swarm.Config, cfg Config) *Engine {
	t.Helper()
	m, err := swarm.Load(testkit.Backend(t, backend.Go), c, randomWeights(c, 1), swarm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	cfg.Model = m
	if cfg.Tokenizer == nil {
		cfg.Tokenizer = tinyTokenizer(t)
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// generate runs a request that must succeed and returns its events too.
func generate(t testing.TB, e *Engine, r Request) (Result, []Event) {
	t.Helper()
	var events []Event
	result, err := e.Generate(t.Context(), r, func(ev Event) error {
		events = append(events, ev)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return result, events
}

// tokens lists the generated tokens of events.
func tokens(events []Event) []int32 {
	var ids []int32
	for _, ev := range events {
		if ev.Token >= 0 {
			ids = append(ids, int32(ev.Token))
		}
	}
	return ids
}

// rows reads ids as one text with a fresh session and returns the logits after each.
func rows(t testing.TB, m *swarm.Model, ids []int32) [][]float32 {
	t.Helper()
	s, err := m.NewSession("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all [][]float32
	if _, err := s.Score(t.Context(), ids, func(_ int, logits []float32) error {
		for V := m.Config().Base.VocabSize; len(logits) > 0; logits = logits[V:] {
			all = append(all, append([]float32(nil), logits[:V]...))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

var errTest = errors.New("the caller had enough")
