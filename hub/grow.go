package hub

import (
	"math"
	"math/rand/v2"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Grow returns what SavePretrained needs to write a swarm whose encoders are all
// copies of p's first layers. The router is drawn at random from the seed: it
// decides, but knows no domains yet. With state hand-off the swarm's logits are
// those of p.
func Grow(p *Pretrained, cfg *config.Config, seed uint64) SaveOptions {
	rng := rand.New(rand.NewPCG(seed, 0))
	return SaveOptions{
		Config: cfg, Generation: p.Generation, FilesFrom: p.Dir, Derived: true,
		Origin: func(spec swarm.TensorSpec) Origin {
			if values, ok := newTensor(spec, rng); ok {
				return Origin{Values: values}
			}
			name := spec.Name
			if spec.Encoder != swarm.None {
				prefix := len(swarm.LayerTensor(spec.Encoder, spec.Layer, ""))
				name = swarm.LayerTensor(swarm.None, spec.Layer, name[prefix:])
			}
			return Origin{Source: p, Name: name}
		},
	}
}

// newTensor draws the tensors that a plain model lacks: the router's table N(0, 1)
// and projection N(0, 1/in), so that scores have unit variance; the aggregator's
// projections U(±1/sqrt(d)); everything else 0.
func newTensor(spec swarm.TensorSpec, rng *rand.Rand) ([]float32, bool) {
	if !strings.HasPrefix(spec.Name, "backbone.router.") && !strings.HasPrefix(spec.Name, "backbone.aggregator.") {
		return nil, false
	}
	values := make([]float32, spec.Elements())
	var draw func() float64
	switch strings.TrimPrefix(spec.Name, "backbone.") {
	case "router.embeddings.weight":
		draw = rng.NormFloat64
	case "router.proj.weight":
		draw = func() float64 { return rng.NormFloat64() / math.Sqrt(float64(spec.Shape[1])) }
	case "aggregator.q.weight", "aggregator.k.weight":
		draw = func() float64 { return (2*rng.Float64() - 1) / math.Sqrt(float64(spec.Shape[1])) }
	default:
		return values, true
	}
	for i := range values {
		values[i] = float32(draw())
	}
	return values, true
}
