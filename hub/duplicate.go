package hub

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Duplicate returns what SavePretrained needs to write a swarm of more encoders: p's
// as they are, then copies of its specialists in turn, with noise,
// N(0, noise · rms of the tensor), on their own tensors and their rows of the router, by
// which training tells a copy from its original. Until then the router ranks both
// nearly alike. An encoder that always runs is not copied. domains names the new
// encoders; without it they are "law-2", "law-3" of "law".
//
// The error is a *config.FaultError if the numbers or names do not fit.
func Duplicate(p *Pretrained, encoders int, domains []string, noise float64, seed uint64) (SaveOptions, error) {
	from, err := originals(p, encoders)
	if err != nil {
		return SaveOptions{}, err
	}
	cfg, err := duplicated(p.Config, from, domains)
	if err != nil {
		return SaveOptions{}, err
	}
	return SaveOptions{
		Config: cfg, Generation: p.Generation, FilesFrom: p.Dir, Derived: true, Precision: Stored(cfg),
		Origin: func(spec swarm.TensorSpec) Origin {
			made := copies{Pretrained: p, from: from, noise: noise, seed: seed, target: spec.Name}
			switch {
			case swarm.PerEncoder(spec.Name):
				return Origin{Source: made, Name: spec.Name}
			case spec.Encoder >= p.Config.Swarm.Router.NumEncoders:
				return Origin{Source: made, Name: swarm.Renumbered(spec.Name, spec.Encoder, from[spec.Encoder])}
			}
			return Origin{Source: p, Name: spec.Name}
		},
	}, nil
}

// originals returns, for each of n encoders, the one of p that it is or is copied of.
func originals(p *Pretrained, n int) ([]int, error) {
	have := p.Config.Swarm.Router.NumEncoders
	if n <= have {
		return nil, &config.FaultError{Faults: []config.Fault{{Field: "num_encoders",
			Message: fmt.Sprintf("%d is not more than the %d encoders that the swarm has", n, have)}}}
	}
	larger := *p.Config
	larger.Swarm.Router.NumEncoders, larger.Swarm.Router.Domains = n, nil
	if err := larger.Validate(); err != nil {
		return nil, err
	}
	r, err := swarm.ReadRouter(p.Config.Swarm, p)
	if err != nil {
		return nil, err
	}
	var from, specialists []int
	for e := range have {
		from = append(from, e)
		if !r.Always(e) {
			specialists = append(specialists, e)
		}
	}
	if len(specialists) == 0 {
		specialists = from
	}
	for i := range n - have {
		from = append(from, specialists[i%len(specialists)])
	}
	return from, nil
}

// duplicated is the configuration of the swarm with copies; domains names these.
func duplicated(c *config.Config, from []int, domains []string) (*config.Config, error) {
	cfg := *c
	cfg.GrownFrom = ""
	r := &cfg.Swarm.Router
	have := r.NumEncoders
	r.NumEncoders = len(from)
	if len(r.Domains) > 0 || domains != nil {
		names := slices.Grow(slices.Clone(r.Domains), len(from))
		if len(names) == 0 {
			names = make([]string, have, len(from))
		}
		if domains == nil {
			domains = copyNames(names, from[have:])
		}
		r.Domains = append(names, domains...)
	}
	return &cfg, cfg.Validate()
}

// copyNames names copies of encoders by these, with the first number that is free.
func copyNames(names []string, from []int) []string {
	taken := slices.Clone(names)
	for _, e := range from {
		name := names[e]
		for n := 2; name != "" && slices.Contains(taken, name); n++ {
			name = fmt.Sprintf("%s-%d", names[e], n)
		}
		taken = append(taken, name)
	}
	return taken[len(names):]
}

// copies is a source of the tensor target, made of one of p: of encoders' tensors the
// original plus noise, of those with a row for each encoder p's rows and those of copies.
type copies struct {
	*Pretrained
	from   []int
	noise  float64
	seed   uint64
	target string
}

// Info is part of [swarm.Source].
func (c copies) Info(name string) (dtypes.DType, []int, error) {
	dtype, shape, err := c.Pretrained.Info(name)
	if dtype == dtypes.Int8 { // quantised anew
		dtype = dtypes.Float32
	}
	if err == nil && swarm.PerEncoder(name) {
		shape = slices.Clone(shape)
		shape[0] = len(c.from)
	}
	return dtype, shape, err
}

// Read is part of [swarm.Source]. The noise of a tensor is the same each time.
func (c copies) Read(name string, dst []byte) error {
	dtype, _, err := c.Info(name)
	if err != nil {
		return err
	}
	values, err := swarm.ReadFloats(c.Pretrained, name)
	if err != nil {
		return err
	}
	hash := fnv.New64a()
	hash.Write([]byte(c.target))
	rng := rand.New(rand.NewPCG(c.seed, hash.Sum64()))
	if !swarm.PerEncoder(name) {
		copy(dst, swarm.Encode(swarm.Disturb(values, c.noise, rng), dtype))
		return nil
	}
	have := c.Config.Swarm.Router.NumEncoders
	width := len(values) / have
	for _, e := range c.from[have:] {
		row := values[e*width:][:width]
		if name == swarm.RouterRows {
			row = swarm.Disturb(row, c.noise, rng)
		}
		values = append(values, row...)
	}
	copy(dst, swarm.Encode(values, dtype))
	return nil
}
