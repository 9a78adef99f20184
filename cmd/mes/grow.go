package main

import (
	"context"
	"flag"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/config"
)

var growCommand = command{
	name: "grow", args: "MODEL", summary: "make a swarm of copies from a plain Mamba, or a larger one of a swarm",
	help: `
Copies the first layers of MODEL into E encoders, adds a router drawn at random
and an aggregator, and writes the swarm. Its logits are those of MODEL until its
encoders are trained apart.

Of a swarm it makes one with E encoders in all: those that it has, unchanged, and copies
of its specialists in turn, with their rows of the router, which -noise sets apart.
-domains names the new ones. mes train -init goes on from it.

Example:
  mes grow -encoders 5 -active 2 -layers 3 -o swarm weights/mamba2-mini
  mes grow -encoders 8 -o larger swarm`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		g := &grow{m: m, flags: fs}
		fs.IntVar(&g.encoders, "encoders", 5, "`E`, encoders in all")
		fs.IntVar(&g.active, "active", 2, "`k`, encoders that run for a token")
		fs.IntVar(&g.layers, "layers", 3, "`layers` of the model that become an encoder")
		fs.IntVar(&g.chunk, "chunk", 0, "`tokens` between two decisions of the router; 0 is the default")
		fs.StringVar(&g.domains, "domains", "", "comma-separated `names`, one per encoder; of a swarm, one per new encoder")
		fs.Float64Var(&g.noise, "noise", 0.01, "`share` of a tensor's root mean square by which a swarm's copies differ")
		fs.Uint64Var(&g.seed, "seed", 1, "`seed` of the router, or of the noise")
		fs.StringVar(&g.out, "o", "", "`folder` to write; needed")
		return g.run
	},
}

type grow struct {
	m                               *Main
	flags                           *flag.FlagSet
	noise                           float64
	encoders, active, layers, chunk int
	domains, out                    string
	seed                            uint64
}

func (g *grow) run(ctx context.Context, args []string) error {
	if len(args) != 1 || g.out == "" {
		return usageError("grow needs one model folder and -o FOLDER; `mes help grow` shows an example")
	}
	p, err := g.m.openWhole(ctx, args[0])
	if err != nil {
		return err
	}
	defer p.Close()
	plan := g.plain
	if p.Config.ModelType == config.Swarm {
		plan = g.larger
	}
	o, err := plan(p)
	if err != nil {
		return err
	}
	if _, err := g.m.save(ctx, "grow", g.out, o); err != nil {
		return err
	}
	c := o.Config.Swarm
	total, active := c.Parameters()
	fmt.Fprintf(g.m.Stdout, "%s: %d encoders of %d layers, %d active; %d parameters, %d active\n",
		g.out, c.Router.NumEncoders, c.NumEncoderLayers, c.Router.EncodersPerToken, total, active)
	return nil
}

// plain makes a swarm of a plain model.
func (g *grow) plain(p *hub.Pretrained) (hub.SaveOptions, error) {
	if err := g.notFor("a plain model, of which all copies are the same", "noise"); err != nil {
		return hub.SaveOptions{}, err
	}
	cfg, err := p.Config.Grow(g.encoders, g.active, g.layers, path.Base(p.Name))
	if err != nil {
		return hub.SaveOptions{}, err
	}
	if g.chunk > 0 {
		cfg.Swarm.Router.ChunkLength = g.chunk
	}
	cfg.Swarm.Router.Domains = g.names()
	if err := cfg.Validate(); err != nil {
		return hub.SaveOptions{}, err
	}
	return hub.Grow(p, cfg, g.seed), nil
}

// larger makes a swarm of more encoders, whose other numbers stay.
func (g *grow) larger(p *hub.Pretrained) (hub.SaveOptions, error) {
	if err := g.notFor("a swarm, which keeps its own", "active", "layers", "chunk"); err != nil {
		return hub.SaveOptions{}, err
	}
	if !(g.noise >= 0 && g.noise <= 1) {
		return hub.SaveOptions{}, usageError("-noise: %v must be from 0 to 1", g.noise)
	}
	return hub.Duplicate(p, g.encoders, g.names(), g.noise, g.seed)
}

// notFor refuses flags that say nothing about the kind of model at hand.
func (g *grow) notFor(kind string, names ...string) (err error) {
	g.flags.Visit(func(f *flag.Flag) {
		if slices.Contains(names, f.Name) {
			err = usageError("-%s does not go with %s", f.Name, kind)
		}
	})
	return err
}

// names are those of -domains.
func (g *grow) names() []string {
	if g.domains == "" {
		return nil
	}
	return strings.Split(g.domains, ",")
}
