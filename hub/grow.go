package hub

import (
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
			if strings.HasPrefix(spec.Name, "backbone.router.") || strings.HasPrefix(spec.Name, "backbone.aggregator.") {
				return Origin{Values: cfg.Swarm.Init(spec, rng)}
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
