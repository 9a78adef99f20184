package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"

	"github.com/mamba-encoder-swarm/mes/hub"
)

var exportEncoderCommand = command{
	name: "export-encoder", args: "SWARM E", summary: "write one encoder of a swarm as a plain Mamba",
	help: `
Writes encoder E of SWARM (0 is the first), with the decoder that all encoders
share, as a plain Mamba that transformers loads. That of a swarm just grown has
the logits of the model it was grown from.

Example:
  mes export-encoder -o encoder-3 swarm 3`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		out := fs.String("o", "", "`folder` to write; needed")
		return func(ctx context.Context, args []string) error { return m.exportEncoder(ctx, *out, args) }
	},
}

func (m *Main) exportEncoder(ctx context.Context, out string, args []string) error {
	if len(args) != 2 || out == "" {
		return usageError("export-encoder needs a swarm's folder, the number of an encoder and -o FOLDER; `mes help export-encoder` shows an example")
	}
	e, err := strconv.Atoi(args[1])
	if err != nil {
		return usageError("encoder %q is not a number", args[1])
	}
	p, err := m.openWhole(ctx, args[0])
	if err != nil {
		return err
	}
	defer p.Close()
	o, err := hub.ExportEncoder(p, e)
	if err != nil {
		return usageError("%v", err)
	}
	bytes, err := m.save(ctx, "export-encoder", out, o)
	if err != nil {
		return err
	}
	total, _ := o.Config.Swarm.Parameters()
	fmt.Fprintf(m.Stdout, "%s: %s, %s parameters, %s\n", out, o.Config.ModelType, thousands(int64(total)), size(bytes))
	return nil
}
