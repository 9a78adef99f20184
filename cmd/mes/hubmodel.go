package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/client"
	"github.com/mamba-encoder-swarm/mes/model/config"
)

// openModel opens a model: a folder, or a repo of the hub, whose encoders are fetched
// as they are needed.
func (m *Main) openModel(ctx context.Context, model string) (*hub.Pretrained, error) {
	if model == defaultModel {
		return hub.FromPretrained(ctx, model, nil) // a folder of this repository, whatever a hub has
	}
	return hub.FromPretrained(ctx, model, m.openRepo)
}

// openWhole opens a model of which everything is read.
func (m *Main) openWhole(ctx context.Context, model string) (*hub.Pretrained, error) {
	p, err := m.openModel(ctx, model)
	if err != nil {
		return nil, err
	}
	if err := p.FetchAll(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// openCheckpoint opens a model to convert it: of folders those with PyTorch's weights
// too.
func (m *Main) openCheckpoint(ctx context.Context, model string) (*hub.Pretrained, error) {
	if _, _, isName := hub.ParseName(model); isName {
		if _, err := os.Stat(model); err != nil {
			return m.openWhole(ctx, model)
		}
	}
	return hub.FromCheckpoint(model)
}

// openRepo implements [hub.Opener].
func (m *Main) openRepo(ctx context.Context, repo, revision string) (hub.Remote, error) {
	return openRemote(ctx, &hubFlags{m: m}, repo, revision)
}

// remote is a model repo at one commit, read through the client's cache.
type remote struct {
	hub    *hubFlags
	c      *client.Client
	repo   client.Repo
	commit string
	files  map[string]int64 // all files and their sizes
	known  bool             // files are all that the repo has

	mu      sync.Mutex
	fetched map[string]bool
	bar     sync.Mutex // held by the download that is shown
}

// openRemote pins a revision to its commit. Without a network the cache says what it
// was when it was last asked.
func openRemote(ctx context.Context, flags *hubFlags, repo, revision string) (*remote, error) {
	c, err := flags.client(ctx)
	if err != nil {
		return nil, err
	}
	r := &remote{hub: flags, c: c, repo: client.Repo{Type: client.Model, ID: repo}, files: map[string]int64{}, fetched: map[string]bool{}}
	// The cache notes commit and files, and both are then known without a network.
	s, err := c.Snapshot(ctx, r.repo, revision, client.SnapshotOptions{Include: []string{config.FileName}})
	if err != nil {
		return nil, err
	}
	r.commit = s.Commit
	s, err = c.Snapshot(ctx, r.repo, r.commit, client.SnapshotOptions{DryRun: true})
	if err != nil && !errors.As(err, new(*client.IncompleteError)) {
		return nil, err
	}
	r.known = !s.Partial
	for _, f := range s.Files {
		r.files[f.Path] = f.Size
	}
	return r, nil
}

// List implements [hub.Remote].
func (r *remote) List(context.Context) ([]string, bool, error) {
	var names []string
	for name := range r.files {
		names = append(names, name)
	}
	return names, r.known, nil
}

// Fetch implements [hub.Remote] and shows how far it is; of several downloads at once
// the first.
func (r *remote) Fetch(ctx context.Context, path string) (string, error) {
	var show func(client.Progress)
	if r.bar.TryLock() {
		defer r.bar.Unlock()
		bar := r.hub.progress(path)
		defer bar.finish()
		show = bar.transfer
	}
	local, err := r.c.DownloadProgress(ctx, r.repo, r.commit, path, show)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetched[path] = true
	return filepath.Abs(local)
}
