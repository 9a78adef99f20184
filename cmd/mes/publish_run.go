package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/client"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// publishedCheckpoints is where the weights repo has the checkpoints of its run.
const publishedCheckpoints = hub.CheckpointFolder + "/" + runCheckpoints

// stageRun copies what a run goes on from below dir: configuration, plan, records and
// the newest checkpoint that is whole. The folder's name is empty without -run; remove
// deletes it.
func (p *publish) stageRun(dir string) (run string, remove func(), err error) {
	if p.training == "" {
		return "", func() {}, nil
	}
	run, err = os.MkdirTemp(dir, ".run-")
	if err != nil {
		return "", nil, fmt.Errorf("copy the training run: %w", err)
	}
	remove = func() { _ = os.RemoveAll(run) }
	if err := p.copyRun(run); err != nil {
		remove()
		return "", nil, err
	}
	return run, remove, nil
}

func (p *publish) copyRun(to string) (err error) {
	for _, name := range []string{config.FileName, runPlan, telemetry.MetricsFile} {
		err := copyFile(filepath.Join(p.training, name), filepath.Join(to, name))
		if errors.Is(err, fs.ErrNotExist) && name != telemetry.MetricsFile {
			return fmt.Errorf("-run %s: there is no %s, which mes train writes when it begins or goes on: %w", p.training, name, err)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("copy the training run: %w", err)
		}
	}
	from := filepath.Join(p.training, runCheckpoints)
	if _, err := os.Stat(from); err != nil {
		return fmt.Errorf("-run %s: %w", p.training, err)
	}
	m, err := ckpt.Open(ckpt.Config{Dir: from, Logger: slog.New(slog.NewTextHandler(p.m.Stderr, nil))})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	info, err := m.Copy(filepath.Join(to, runCheckpoints))
	if err != nil {
		return err
	}
	fmt.Fprintf(p.m.Stderr, "mes: the checkpoint of step %d goes along\n", info.Step)
	return nil
}

// staleCheckpoints lists the files of checkpoints that an earlier run published and
// that are not part of the present one.
func (p *publish) staleCheckpoints(ctx context.Context, repo client.Repo, there, now []string) ([]string, error) {
	if !slices.ContainsFunc(now, func(name string) bool { return strings.HasPrefix(name, publishedCheckpoints+"/") }) {
		return nil, nil
	}
	var stale []string
	for _, name := range there {
		if ok, err := path.Match(publishedCheckpoints+"/steps/*.json", name); err != nil || !ok {
			continue
		}
		manifest, err := p.read(ctx, repo, name)
		if err != nil {
			return nil, err
		}
		files, err := ckpt.Files(manifest)
		if err != nil {
			return nil, fmt.Errorf("%s of the repo: %w; delete %s there first", name, err, hub.CheckpointFolder)
		}
		for _, file := range files {
			file = publishedCheckpoints + "/" + file
			if slices.Contains(there, file) && !slices.Contains(now, file) {
				stale = append(stale, file)
			}
		}
	}
	slices.Sort(stale)
	return slices.Compact(stale), nil
}
