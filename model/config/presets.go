package config

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// defaults returns what absent keys mean: for the stack, the defaults of
// transformers 5 (MambaConfig, Mamba2Config, FalconMambaConfig); for a swarm's own
// keys, ours.
func defaults(modelType string, kind mamba.Kind) *Config {
	c := &Config{ModelType: modelType, Swarm: swarm.Config{Base: baseDefaults(kind), Router: routerDefaults(1, 1),
		EncoderState: swarm.Handoff, Fusion: swarm.FuseAttention, AggregatorDim: 64}}
	c.BOS, c.EOS, c.PAD = 0, []int{0}, 0
	if kind == mamba.Mamba2 {
		c.EOS, c.PAD = []int{2}, 1
	}
	if modelType == Swarm {
		c.Swarm.Router.DefaultEncoders = nil
	}
	return c
}

func baseDefaults(kind mamba.Kind) mamba.Config {
	b := mamba.Config{Kind: kind, VocabSize: 50280, DModel: 768, NLayer: 32, DState: 16, DConv: 4, Expand: 2,
		UseConvBias: true, NormEps: 1e-5, TieWordEmbedding: true}
	switch kind {
	case mamba.Mamba2:
		b.VocabSize, b.DModel, b.NLayer, b.DState = 32768, 4096, 64, 128
		b.NHeads, b.HeadDim, b.NGroups, b.ChunkSize = 128, 64, 8, 256
		b.TimeStepLimit = [2]float64{0, math.Inf(1)}
		b.RMSNorm, b.TieWordEmbedding = true, false
	case mamba.Falcon:
		b.MixerNormEps = 1e-6
	}
	return b
}

func routerDefaults(encoders, active int) router.Config {
	return router.Config{NumEncoders: encoders, EncodersPerToken: active, Granularity: router.PerChunk, ChunkLength: 16,
		SequenceDecision: 64, Dim: 64, HalfLives: []float64{16, 128, 1024}, Temperature: 1, Hysteresis: 0.02,
		DefaultEncoders: firstEncoders(active)}
}

// size is what the presets differ in.
type size struct {
	vocab, width, layers, state, head int
	encoders, active, encoderLayers   int
}

var sizes = map[string]size{
	"tiny":  {vocab: 256, width: 32, layers: 4, state: 16, head: 16, encoders: 4, active: 2, encoderLayers: 2},
	"small": {vocab: 8192, width: 384, layers: 12, state: 64, head: 64, encoders: 8, active: 2, encoderLayers: 3},
	"base":  {vocab: 16384, width: 768, layers: 24, state: 128, head: 64, encoders: 16, active: 2, encoderLayers: 6},
}

// PresetNames are the names that Preset knows, smallest first.
var PresetNames = []string{"tiny", "small", "base"}

// Preset returns a new swarm with a Mamba-2 base: tiny for tests, small for a
// laptop, base for one GPU.
func Preset(name string) (*Config, error) {
	s, ok := sizes[name]
	if !ok {
		return nil, fmt.Errorf("preset %q does not exist; there are %s", name, strings.Join(PresetNames, ", "))
	}
	c := defaults(Swarm, mamba.Mamba2)
	b := &c.Swarm.Base
	b.VocabSize, b.DModel, b.NLayer, b.DState, b.HeadDim = s.vocab, s.width, s.layers, s.state, s.head
	b.NHeads, b.NGroups, b.TieWordEmbedding = b.DInner()/s.head, 1, true
	b.NormGroupSize = b.DInner()
	c.BOS, c.EOS, c.PAD = 0, []int{0}, 0
	c.DType = "float32"
	c.Swarm.Router = routerDefaults(s.encoders, s.active)
	c.Swarm.NumEncoderLayers = s.encoderLayers
	return c, nil
}

// Default returns the small preset, which is the config.json of the repository:
// the stack of weights/mamba2-mini with 8 encoders for its first 3 layers, of
// which 2 run for a token, chosen anew every 16 tokens.
func Default() *Config {
	c, err := Preset("small")
	if err != nil { // the name is in the table
		return nil
	}
	return c
}

// Grow returns the configuration of a swarm of copies of c's first layers: e
// encoders of that many layers, k of them active. name is what GrownFrom records.
// The error is a *FaultError if the numbers do not fit.
func (c *Config) Grow(e, k, layers int, name string) (*Config, error) {
	if c.ModelType == Swarm {
		return nil, &FaultError{[]Fault{{"model_type", "only a plain model can be grown, this one is a swarm already"}}}
	}
	g := c.clone()
	g.ModelType, g.Original, g.GrownFrom = Swarm, false, name
	g.Swarm = defaults(Swarm, c.Swarm.Base.Kind).Swarm
	g.Swarm.Base, g.Swarm.NumEncoderLayers = c.Swarm.Base, layers
	g.Swarm.Router = routerDefaults(e, k)
	return g.reshaped()
}

// Export returns the configuration of one encoder with the decoder, a plain model
// in HuggingFace's layout. The error is a *FaultError if that layout cannot express
// the swarm's blocks.
func (c *Config) Export() (*Config, error) {
	p := c.clone()
	p.ModelType, p.Original, p.GrownFrom = string(c.Swarm.Base.Kind), false, ""
	p.Swarm = defaults(p.ModelType, c.Swarm.Base.Kind).Swarm
	p.Swarm.Base = c.Swarm.Base
	return p.reshaped()
}

// reshaped forgets the Python classes of the model before, and validates.
func (c *Config) reshaped() (*Config, error) {
	c.file = slices.DeleteFunc(slices.Clone(c.file), func(m member) bool { return m.key == "auto_map" })
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}
