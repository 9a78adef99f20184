package main

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

var convertCommand = command{
	name: "convert", args: "MODEL|RUN", summary: "write a model anew: HuggingFace's layout, another precision",
	help: `
Writes MODEL, a folder in HuggingFace's layout or that of state-spaces/mamba, with
safetensors or PyTorch weights (pytorch_model.bin, which is read without running
anything in it), as a folder in HuggingFace's layout that transformers loads.

RUN, the folder of a training run (mes train -o), stands for the model in its newest
checkpoint, or in that of -step.

-dtype f32 and bf16 are the types of the weight matrices; int8 is the format
int-quantized of compressed-tensors: in_proj and out_proj with one scale per row,
the other matrices in bf16. Everything else is f32. Without -dtype every tensor
keeps its type.

Example:
  mes convert -dtype int8 -o mini-int8 weights/mamba2-mini
  mes convert -step 2000 -o early runs/tiny`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		c := &convert{m: m}
		fs.StringVar(&c.dtype, "dtype", "", "`type` of the weight matrices: f32, bf16 or int8; empty keeps what is there")
		fs.Int64Var(&c.step, "step", newestStep, "`step` of a training run's checkpoint; -1 is the newest")
		fs.StringVar(&c.out, "o", "", "`folder` to write; needed")
		return c.run
	},
}

type convert struct {
	m          *Main
	dtype, out string
	step       int64
}

func (c *convert) run(ctx context.Context, args []string) error {
	if len(args) != 1 || c.out == "" {
		return usageError("convert needs one folder of a model or run and -o FOLDER; `mes help convert` shows an example")
	}
	var precision swarm.Precision
	if c.dtype != "" {
		var err error
		if precision, err = swarm.ParsePrecision(c.dtype); err != nil {
			return usageError("-dtype: %v", err)
		}
	}
	if isRun(args[0]) {
		return c.checkpoint(ctx, args[0], precision)
	}
	if c.step != newestStep {
		return usageError("-step %d: %s is not the folder of a training run, which has %s", c.step, args[0], runCheckpoints)
	}
	p, err := c.m.openCheckpoint(ctx, args[0])
	if err != nil {
		return err
	}
	defer p.Close()
	o, err := hub.Convert(p, precision)
	if err != nil {
		return fmt.Errorf("convert %s: %w", args[0], err)
	}
	bytes, err := c.m.save(ctx, "convert", c.out, o)
	if err != nil {
		return err
	}
	if surplus := p.Surplus(); len(surplus) > 0 {
		fmt.Fprintf(c.m.Stderr, "mes: left out %d tensors that the model does not use: %s\n", len(surplus), few(surplus))
	}
	c.wrote(o.Config, bytes)
	return nil
}

// wrote prints what was written.
func (c *convert) wrote(cfg *config.Config, bytes int64) {
	total, _ := cfg.Swarm.Parameters()
	fmt.Fprintf(c.m.Stdout, "%s: %s, %s parameters, %s\n", c.out, cfg.ModelType, thousands(int64(total)), size(bytes))
}

// save writes a model folder with a progress bar and returns the bytes of its
// weights.
func (m *Main) save(ctx context.Context, name, dir string, o hub.SaveOptions) (bytes int64, err error) {
	bar := m.progress(name)
	o.Dir = dir
	o.Progress = func(done, total int64) {
		bytes = total
		bar.set(done, total)
	}
	err = hub.SavePretrained(ctx, o)
	bar.finish()
	return bytes, err
}

// few lists names, of many only the first.
func few(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:shown], ", ") + fmt.Sprintf(" and %d more", len(names)-shown)
}
