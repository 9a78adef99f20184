package eval

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/gomlx/compute/dtypes"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// The hand-made swarm knows three domains, whose texts are one letter over and over:
// encoder 1 says a, 2 says b, 3 says c, with all its weights zero but a bias that the head
// turns into a logit of 8; encoder 0, the generalist, says nothing. So each loss is known:
var (
	lossRight  = math.Log(math.Exp(8)+256) - 8 // its letter, by the specialist
	lossWrong  = math.Log(math.Exp(8) + 256)   // another's letter
	lossNobody = math.Log(257)                 // by the generalist alone
)

const (
	letters   = 200 // of a held-out document
	chunk     = 6   // tokens that the default encoders, 0 and 1, read
	tolerance = 2e-3
)

func handConfig() swarm.Config {
	base := mamba.Config{Kind: mamba.Mamba2, VocabSize: 257, DModel: 16, NLayer: 2, DState: 4, DConv: 4, Expand: 2,
		NHeads: 4, HeadDim: 8, NGroups: 1, NormGroupSize: 32, ChunkSize: 8, RMSNorm: true, UseConvBias: true, UseBias: true, NormEps: 1e-5}
	base.TimeStepLimit[1] = 1e9
	return swarm.Config{Base: base, NumEncoderLayers: 1, EncoderState: swarm.Handoff, Fusion: swarm.FuseAttention, AggregatorDim: 4,
		Router: router.Config{NumEncoders: 4, EncodersPerToken: 2, Granularity: router.PerChunk, ChunkLength: chunk, Dim: 3,
			HalfLives: []float64{4}, Temperature: 1, Hysteresis: 0.02, DefaultEncoders: []int{0, 1}, SequenceDecision: 10,
			Domains: []string{"", "alpha", "beta", "gamma"}}}
}

// source is a checkpoint in memory.
type source map[string]tensor

type tensor struct {
	shape  []int
	values []float32
}

func (s source) Info(name string) (dtypes.DType, []int, error) {
	t, ok := s[name]
	if !ok {
		return dtypes.InvalidDType, nil, swarm.ErrNoTensor
	}
	return dtypes.Float32, t.shape, nil
}

func (s source) Read(name string, dst []byte) error {
	values := s[name].values
	copy(dst, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values)))
	return nil
}

func (s source) Release([]string) {}

// handMade gives the weights; says[e] is the place of encoder e's letter, -1 for none.
func handMade(c swarm.Config, says []int) source {
	s := source{}
	for _, spec := range c.Tensors() {
		t := tensor{spec.Shape, make([]float32, spec.Elements())}
		switch {
		case strings.HasSuffix(spec.Name, "norm.weight"), strings.HasSuffix(spec.Name, "norm_f.weight"):
			for i := range t.values {
				t.values[i] = 1
			}
		case strings.HasSuffix(spec.Name, "out_proj.bias") && spec.Encoder >= 0 && says[spec.Encoder] >= 0:
			t.values[says[spec.Encoder]] = 1
		case spec.Name == "lm_head.weight":
			for letter := range 3 { // the norm makes 4 of the bias
				t.values[idOf(letter)*c.Base.DModel+letter] = 2
			}
		case spec.Name == "backbone.router.embeddings.weight":
			for letter := range 3 {
				t.values[idOf(letter)*3+letter] = 1
			}
		case spec.Name == "backbone.router.proj.weight":
			for letter := range 3 {
				t.values[(letter+1)*3+letter] = 3
			}
		case spec.Name == "backbone.router.bias":
			t.values[0] = 10 // the generalist always runs
		}
		s[spec.Name] = t
	}
	return s
}

// idOf is the id of a letter: ids follow the bytes, behind one special token, in the
// order of GPT-2's alphabet, which begins with '!'.
func idOf(letter int) int { return 1 + int('a') - int('!') + letter }

// byteTokenizer writes a tokenizer without merges and opens it.
func byteTokenizer(t testing.TB) (dir string, tok tokenizer.Tokenizer) {
	t.Helper()
	none := func(func(string, error) bool) {}
	learnt, err := tokenizer.Train(t.Context(), none, tokenizer.TrainConfig{VocabSize: 257, SpecialTokens: []string{"<|endoftext|>"}})
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := learnt.Save(dir); err != nil {
		t.Fatal(err)
	}
	tok, err = tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tok.Close() })
	if id, ok := tok.TokenID("a"); !ok || int(id) != idOf(0) {
		t.Fatalf("a is token %d, want %d", id, idOf(0))
	}
	return dir, tok
}

// prepared writes held-out documents by domain and prepares them.
func prepared(t testing.TB, tokenizerDir string, valid map[string][]string) string {
	t.Helper()
	dir := t.TempDir()
	corpus := filepath.Join(dir, "corpus")
	for name, docs := range valid {
		for split, docs := range map[string][]string{"train": {"for training: " + name}, "valid": docs} {
			var lines strings.Builder
			for i, doc := range docs {
				line, err := json.Marshal(map[string]string{"text": doc, "id": fmt.Sprint(split, i)})
				if err != nil {
					t.Fatal(err)
				}
				lines.Write(append(line, '\n'))
			}
			path := filepath.Join(corpus, split, name+".jsonl")
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	out := filepath.Join(dir, "data")
	cfg := data.PrepareConfig{Inputs: []string{corpus}, Out: out, Tokenizer: tokenizerDir}
	cfg.Rules.SplitBy = data.ByFolder
	if _, err := data.Prepare(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return out
}

// handConfigured is a run over the hand-made swarm and three documents of one letter.
func handConfigured(t testing.TB, says []int) Config {
	t.Helper()
	c := handConfig()
	weights := handMade(c, says)
	b := testkit.Backend(t, backend.Go)
	load := func(c swarm.Config) (*swarm.Model, error) { return swarm.Load(b, c, weights, swarm.Options{}) }
	m, err := load(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	dir, tok := byteTokenizer(t)
	e, err := engine.New(engine.Config{Model: m, Tokenizer: tok})
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string][]string{}
	for i, name := range []string{"alpha", "beta", "gamma"} {
		docs[name] = []string{strings.Repeat(string(rune('a'+i)), letters)}
	}
	return Config{Model: m, Tokenizer: tok, TokenizerSHA256: sumOf(t, dir), Data: prepared(t, dir, docs), Load: load, Engine: e}
}

func sumOf(t testing.TB, tokenizerDir string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(tokenizerDir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	return hexSum(raw)
}

// run measures, and must succeed.
func run(t testing.TB, cfg Config) *Report {
	t.Helper()
	r, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// near compares a figure with one that was worked out by hand.
func near(t testing.TB, what string, got, want float64) {
	t.Helper()
	if d := math.Abs(got - want); !(d <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s: %.5f, want %.5f", what, got, want)
	}
}
