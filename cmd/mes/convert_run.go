package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/trainer"
)

// newestStep stands for the newest checkpoint.
const newestStep = -1

// isRun tells whether a folder is that of a training run.
func isRun(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, runCheckpoints))
	return err == nil && info.IsDir()
}

// checkpoint writes the model in a checkpoint of a training run, as the run itself does at
// its end.
func (c *convert) checkpoint(ctx context.Context, run string, precision swarm.Precision) error {
	cfg, err := config.Load(run)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has checkpoints but not the whole model's %s: a run of -add-domain writes the model at its end: %w", run, config.FileName, err)
	}
	if err != nil {
		return err
	}
	snapshot, err := c.snapshot(run)
	if err != nil {
		return err
	}
	params := trainer.Checkpoint(snapshot)
	if cfg.Swarm.Check(params, true) != nil && cfg.Swarm.Dense().Check(params, true) == nil { // the swarm was not made yet
		if cfg, err = cfg.Export(); err != nil {
			return err
		}
	}
	if cfg, err = hub.AtPrecision(cfg, precision); err != nil {
		return err
	}
	tokenizer := filepath.Join(run, runTokenizer)
	if _, err := os.Stat(tokenizer); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(c.m.Stderr, "mes: %s holds no %s; copy that of the data beside the model\n", run, runTokenizer)
		tokenizer = ""
	}
	o := trainedModel(cfg, tokenizer, params)
	o.Precision = precision
	bytes, err := c.m.save(ctx, "convert", c.out, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.m.Stderr, "mes: this is the checkpoint of step %d\n", snapshot.Step)
	c.wrote(cfg, bytes)
	return nil
}

// snapshot reads the checkpoint that -step names.
func (c *convert) snapshot(run string) (s ckpt.Snapshot, err error) {
	m, err := ckpt.Open(ckpt.Config{Dir: filepath.Join(run, runCheckpoints), Logger: slog.New(slog.NewTextHandler(c.m.Stderr, nil))})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if c.step == newestStep {
		return m.Last()
	}
	s, err = m.Load(c.step)
	if errors.Is(err, ckpt.ErrNone) {
		return s, usageError("-step %d: %s has no such checkpoint, but those of the steps %s", c.step, run, steps(m.List()))
	}
	return s, err
}

// steps lists those of checkpoints.
func steps(list []ckpt.Info) string {
	var out []string
	for _, info := range list {
		out = append(out, fmt.Sprint(info.Step))
	}
	return strings.Join(out, ", ")
}
