package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

var plotCommand = command{
	name: "plot", args: "RUN", summary: "draw how a training run went",
	help: `
Reads the records of a run, from its folder or from a metrics.jsonl, and draws the loss
by phase with its parts, the loss by domain, the use of the encoders, the router, the
optimizer, and the speed; what the records do not know is left out. Prints the files
that it wrote. The run may still be going on.

Example:
  mes plot -format png -o pictures runs/mini`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		out := fs.String("o", "", "`folder` to write into (default plots beside the records)")
		formats := fs.String("format", "svg,png", "`formats` to write, separated by commas: svg, png")
		return func(ctx context.Context, args []string) error { return m.plot(ctx, *out, *formats, args) }
	},
}

func (m *Main) plot(ctx context.Context, out, formats string, args []string) error {
	if len(args) != 1 {
		return usageError("plot needs one run; `mes help plot` shows an example")
	}
	wanted := strings.Split(formats, ",")
	for _, format := range wanted {
		if !slices.Contains([]string{telemetry.SVG, telemetry.PNG}, format) {
			return usageError("-format: %q is not svg or png", format)
		}
	}
	records, path, err := readRun(args[0])
	if err != nil {
		return err
	}
	if len(records) == 0 {
		return fmt.Errorf("%s holds no records yet; training writes them every few steps", path)
	}
	if out == "" {
		out = filepath.Join(filepath.Dir(path), "plots")
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return fmt.Errorf("write plots: %w", err)
	}
	for _, figure := range telemetry.Figures(records) {
		for _, format := range wanted {
			if err := ctx.Err(); err != nil {
				return err
			}
			file, err := figure.Save(out, format)
			if err != nil {
				return err
			}
			fmt.Fprintln(m.Stdout, file)
		}
	}
	return nil
}

// readRun reads the records of a run's folder, or of a file.
func readRun(path string) ([]telemetry.Record, string, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, telemetry.MetricsFile)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("read records: %w; name the folder of a run, or its %s", err, telemetry.MetricsFile)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read records: %w", err)
	}
	defer f.Close()
	records, err := telemetry.ReadRecords(f)
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", path, err)
	}
	return records, path, nil
}
