package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/gomlx/compute/dtypes"
	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// randomShapes are the config.json files of published models, of whose size a
// random model can be.
var randomShapes = map[string]string{
	"mamba-130m": `{"model_type": "mamba", "vocab_size": 50280, "hidden_size": 768, "num_hidden_layers": 24}`,
	"mamba2-130m": `{"model_type": "mamba2", "vocab_size": 50288, "hidden_size": 768, "num_hidden_layers": 24,
		"num_heads": 24, "head_dim": 64, "n_groups": 1, "tie_word_embeddings": true}`,
}

// randomNames lists the names of randomShapes.
func randomNames() string { return strings.Join(slices.Sorted(maps.Keys(randomShapes)), ", ") }

// randomModel returns the configuration of a random model: plain with no encoders,
// else a swarm of so many, of which active run, each of layers layers.
func randomModel(name string, encoders, active, layers, chunk int) (*config.Config, error) {
	shape, ok := randomShapes[name]
	if !ok {
		return nil, usageError("-random: unknown model %q; there are %s", name, randomNames())
	}
	cfg, err := config.Parse([]byte(shape))
	if err != nil || encoders == 0 {
		return cfg, err
	}
	if cfg, err = cfg.Grow(encoders, active, layers, name); err != nil || chunk == 0 {
		return cfg, err
	}
	cfg.Swarm.Router.ChunkLength = chunk
	return cfg, cfg.Validate()
}

// randomSource is a checkpoint of random weights in memory: the stack as a new model
// begins training with, every encoder another, and router and aggregator as grow
// draws them. Tensors of the core are made when they are read; those of encoders are
// then kept, so that reading one again costs no more than from a file.
type randomSource struct {
	cfg    *config.Config
	origin func(swarm.TensorSpec) hub.Origin
	specs  map[string]swarm.TensorSpec

	mu   sync.Mutex
	kept map[string][]float32
}

func newRandomSource(cfg *config.Config) *randomSource {
	s := &randomSource{cfg: cfg, specs: map[string]swarm.TensorSpec{}, kept: map[string][]float32{},
		origin: hub.Grow(&hub.Pretrained{Config: cfg}, cfg, randomSeed).Origin}
	for _, spec := range cfg.Swarm.Tensors() {
		s.specs[spec.Name] = spec
	}
	return s
}

// randomSeed is the seed of random models and of the tokens that a benchmark reads.
const randomSeed = 1

// Info implements [swarm.Source].
func (s *randomSource) Info(name string) (dtypes.DType, []int, error) {
	spec, ok := s.specs[name]
	if !ok {
		return dtypes.InvalidDType, nil, fmt.Errorf("random model: %w: %s", swarm.ErrNoTensor, name)
	}
	return dtypes.Float32, spec.Shape, nil
}

// Read implements [swarm.Source].
func (s *randomSource) Read(name string, dst []byte) error {
	for i, v := range s.values(s.specs[name]) {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
	return nil
}

// Release implements [swarm.Source].
func (s *randomSource) Release([]string) {}

func (s *randomSource) values(spec swarm.TensorSpec) []float32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	values, ok := s.kept[spec.Name]
	if ok {
		return values
	}
	if values = s.origin(spec).Values; values == nil {
		h := fnv.New64a()
		h.Write([]byte(spec.Name))
		values = s.cfg.Swarm.Base.Init(spec.Name, spec.Shape, rand.New(rand.NewPCG(randomSeed, h.Sum64())))
	}
	if spec.Encoder != swarm.None {
		s.kept[spec.Name] = values
	}
	return values
}
