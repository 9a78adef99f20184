package main

import (
	"context"
	"flag"
	"fmt"
	"path"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub"
)

var growCommand = command{
	name: "grow", args: "MODEL", summary: "make a swarm of copies from a plain Mamba",
	help: `
Copies the first layers of MODEL into E encoders, adds a router drawn at random
and an aggregator, and writes the swarm. Its logits are those of MODEL until its
encoders are trained apart.

Example:
  mes grow -encoders 5 -active 2 -layers 3 -o swarm weights/mamba2-mini`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		g := &grow{m: m}
		fs.IntVar(&g.encoders, "encoders", 5, "`E`, encoders in all")
		fs.IntVar(&g.active, "active", 2, "`k`, encoders that run for a token")
		fs.IntVar(&g.layers, "layers", 3, "`layers` of the model that become an encoder")
		fs.IntVar(&g.chunk, "chunk", 0, "`tokens` between two decisions of the router; 0 is the default")
		fs.StringVar(&g.domains, "domains", "", "comma-separated `names`, one per encoder")
		fs.Uint64Var(&g.seed, "seed", 1, "`seed` of the router")
		fs.StringVar(&g.out, "o", "", "`folder` to write; needed")
		return g.run
	},
}

type grow struct {
	m                               *Main
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
	cfg, err := p.Config.Grow(g.encoders, g.active, g.layers, path.Base(p.Name))
	if err != nil {
		return err
	}
	if g.chunk > 0 {
		cfg.Swarm.Router.ChunkLength = g.chunk
	}
	if g.domains != "" {
		cfg.Swarm.Router.Domains = strings.Split(g.domains, ",")
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	o := hub.Grow(p, cfg, g.seed)
	o.Dir = g.out
	bar := g.m.progress("grow")
	o.Progress = bar.set
	if err := hub.SavePretrained(ctx, o); err != nil {
		return err
	}
	bar.finish()
	total, active := cfg.Swarm.Parameters()
	fmt.Fprintf(g.m.Stdout, "%s: %d encoders of %d layers, %d active; %d parameters, %d active\n",
		g.out, g.encoders, g.layers, g.active, total, active)
	return nil
}
