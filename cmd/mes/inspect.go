package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

var inspectCommand = command{
	name: "inspect", args: "MODEL", summary: "show a model's tensors, parameters, bytes and cost",
	help: `
Reads the headers of MODEL's files, no weights, and shows the tensors by group, the
parameters in all and those that a token meets, bytes on disk and in memory, the
operations of a token, and everything that is missing or does not fit. Exit code 1
if there is such a problem.

Operations of a token: 2 for each weight of the matrices and convolutions it meets,
plus the scan (7·di·N a layer in Mamba-1, 5·di·N in Mamba-2) and the swarm's router
and aggregator.

Example:
  mes inspect weights/mamba2-mini`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		asJSON := fs.Bool("json", false, "write JSON")
		return func(ctx context.Context, args []string) error { return m.inspect(ctx, *asJSON, args) }
	},
}

func (m *Main) inspect(ctx context.Context, asJSON bool, args []string) error {
	if len(args) != 1 {
		return usageError("inspect needs one model folder; `mes help inspect` shows an example")
	}
	p, err := m.openWhole(ctx, args[0])
	if err != nil {
		return err
	}
	defer p.Close()
	r := hub.Inspect(p)
	if asJSON {
		enc := json.NewEncoder(m.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(r)
	} else {
		err = printReport(m.Stdout, r)
	}
	if n := len(r.Problems); err == nil && n > 0 {
		return fmt.Errorf("inspect %s: %s", args[0], count(n, "problem"))
	}
	return err
}

// printReport writes a report as text.
func printReport(out io.Writer, r *hub.Report) error {
	w := &printer{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	w.f("%s: %s\n\n", r.Model, headline(r))
	printTree(w, r)
	w.f("\n")
	w.f("parameters\t%s, a token meets %s\n", thousands(r.Parameters), thousands(r.ActiveParameters))
	var disk []string
	for _, dtype := range slices.Sorted(maps.Keys(r.DiskBytes)) {
		disk = append(disk, dtype+" "+size(r.DiskBytes[dtype]))
	}
	w.f("on disk\t%s\n", strings.Join(disk, ", "))
	var memory []string
	for _, p := range []swarm.Precision{swarm.F32, swarm.BF16, swarm.Int8} {
		memory = append(memory, fmt.Sprintf("-dtype %s %s", p, size(r.MemoryBytes[p])))
	}
	w.f("in memory\t%s (what a token meets)\n", strings.Join(memory, ", "))
	w.f("a token\t%.1f MFLOP\n", float64(r.FLOPs)/1e6)
	printFiles(w, r.Files)
	if len(r.Surplus) > 0 {
		w.f("not used\t%s\n", few(r.Surplus))
	}
	if len(r.Problems) > 0 {
		w.f("\nproblems\n")
	}
	for _, p := range r.Problems {
		w.f("  %s\n", p)
	}
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}

func headline(r *hub.Report) string {
	s := fmt.Sprintf("%s, %d layers", r.ModelType, r.Layers)
	if r.Encoders > 0 {
		s = fmt.Sprintf("%s of %s, %d layers: %d encoders of the first %d, %d active", r.ModelType, r.Base, r.Layers, r.Encoders, r.EncoderLayers, r.ActiveEncoders)
	}
	if r.GrownFrom != "" {
		s += "; grown from " + r.GrownFrom
	}
	return s
}

// printTree writes a line for each tensor of a group, and one for all encoders that
// are alike.
func printTree(w *printer, r *hub.Report) {
	for _, g := range r.Tree {
		indent := ""
		if g.Name != "" {
			w.f("%s\t%s\t\t%s\n", g.Name, copies(g), thousands(g.Parameters()))
			indent = "  "
		}
		if strings.HasPrefix(g.Name, "backbone.encoders.") {
			continue
		}
		for _, t := range g.Tensors {
			one := hub.Group{Count: 1, Tensors: []hub.ReportTensor{t}}
			w.f("%s%s\t%v\t%s\t%s\n", indent, t.Name, t.Shape, t.DType, thousands(one.Parameters()))
		}
	}
}

// copies says how many layers or encoders a group is.
func copies(g hub.Group) string {
	if !strings.HasPrefix(g.Name, "backbone.encoders.") {
		return count(g.Count, "layer")
	}
	types := map[string]bool{}
	for _, t := range g.Tensors {
		types[t.DType] = true
	}
	return fmt.Sprintf("%s of %s, %s", count(g.Count, "encoder"), count(len(g.Tensors), "tensor"),
		strings.Join(slices.Sorted(maps.Keys(types)), " and "))
}

// printFiles writes a line for each file, and one for the files of encoders.
func printFiles(w *printer, files []hub.ReportFile) {
	for i := 0; i < len(files); i++ {
		f := files[i]
		name, bytes, n := f.Name, f.Bytes, 1
		for i+1 < len(files) && encoderFile(f) && encoderFile(files[i+1]) {
			i++
			n++
			bytes += files[i].Bytes
		}
		switch {
		case n > 1:
			w.f("files\t%s to %s: %s, %s\n", name, files[i].Name, count(n, "file"), size(bytes))
		case bytes < 0:
			w.f("file\t%s: missing\n", name)
		default:
			w.f("file\t%s: %s, %s\n", name, count(f.Tensors, "tensor"), size(bytes))
		}
	}
}

// encoderFile reports whether a file is that of one encoder, and there.
func encoderFile(f hub.ReportFile) bool {
	return strings.HasPrefix(f.Name, "model-encoder-") && f.Bytes >= 0
}

// printer writes until the first error.
type printer struct {
	w   *tabwriter.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// thousands writes a number in groups of three digits.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes bytes in units of 1000.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// count writes a number with a noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(int64(n)) + " " + noun + "s"
}
