package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/client"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
)

// noDocker says why a Space is static.
const noDocker = "the owner's plan has no Docker Spaces, so it is a static page with recorded decisions"

// upload makes a repo where there is none, and brings it to what a folder holds.
func (p *publish) upload(ctx context.Context, repo client.Repo, dir string) (published, error) {
	done := published{Repo: repo.String(), URL: p.c.Endpoint() + "/" + repo.String(), Deleted: []string{}}
	info, err := p.c.Info(ctx, repo, "")
	exists := err == nil
	if err != nil && !errors.Is(err, client.ErrRepoNotFound) {
		return done, err
	}
	static := exists && isStatic(info)
	if !exists {
		if static, err = p.create(ctx, repo); err != nil {
			return done, err
		}
	}
	switch {
	case static:
		dir += "-static"
		done.Note = noDocker
	case repo.Type == client.Space && p.private:
		done.Note = "give it a token that may read the model, as the secret HF_TOKEN in its settings"
	}
	o := client.UploadOptions{Message: "Publish with mes " + version, Files: []client.File{}}
	if o.Files, err = filesOf(dir); err != nil {
		return done, err
	}
	if exists && repo.Type == client.Model {
		if o.Delete, err = p.stale(ctx, repo, o.Files); err != nil {
			return done, err
		}
		done.Deleted = append(done.Deleted, o.Delete...)
	}
	bar := p.hub.progress(repo.ID)
	o.Progress = bar.transfer
	commit, err := p.c.Upload(ctx, repo, o)
	bar.finish()
	done.Commit, done.Commits, done.Unchanged = commit.OID, commit.Made, commit.Unchanged
	return done, err
}

// create makes a repo. It reports whether a Space had to be a static one.
func (p *publish) create(ctx context.Context, repo client.Repo) (static bool, err error) {
	o := client.CreateOptions{Private: p.private}
	if repo.Type == client.Space {
		o.SDK = "docker"
	}
	_, err = p.c.CreateRepo(ctx, repo, o)
	if o.SDK == "" || !errors.Is(err, client.ErrPayment) {
		return false, err
	}
	fmt.Fprintf(p.m.Stderr, "mes: %s: %s\n", repo, noDocker)
	o.SDK = "static"
	_, err = p.c.CreateRepo(ctx, repo, o)
	return true, err
}

// isStatic reports whether a Space's card says that it is a static page.
func isStatic(info client.RepoInfo) bool {
	var card struct {
		SDK string `json:"sdk"`
	}
	return json.Unmarshal(info.CardData, &card) == nil && card.SDK == "static"
}

// stale lists the weights that an earlier publication left over.
func (p *publish) stale(ctx context.Context, repo client.Repo, files []client.File) ([]string, error) {
	entries, err := p.c.Tree(ctx, repo, "main", "", true)
	if errors.Is(err, client.ErrRevisionNotFound) || errors.Is(err, client.ErrEntryNotFound) {
		return nil, nil // nothing was committed yet
	}
	if err != nil {
		return nil, err
	}
	var there, now []string
	for _, e := range entries {
		there = append(there, e.Path)
	}
	for _, f := range files {
		now = append(now, f.Path)
	}
	stale, err := p.staleCheckpoints(ctx, repo, there, now)
	if err != nil || !slices.Contains(there, safetensors.IndexFile) {
		return stale, err
	}
	index, err := p.read(ctx, repo, safetensors.IndexFile)
	if err != nil {
		return nil, err
	}
	weights, err := hub.Stale(index, there, now)
	return append(stale, weights...), err
}

// read brings one file of a repo.
func (p *publish) read(ctx context.Context, repo client.Repo, name string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "mes-publish-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if _, err = p.c.Snapshot(ctx, repo, "main", client.SnapshotOptions{LocalDir: dir, Include: []string{name}}); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
}

// filesOf lists the files of a folder under their paths in it.
func filesOf(dir string) ([]client.File, error) {
	var files []client.File
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			files = append(files, client.File{Path: filepath.ToSlash(name), Local: path})
		}
		return err
	})
	return files, err
}
