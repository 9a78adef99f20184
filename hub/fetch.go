package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/config"
)

// Remote is a model repo of a hub at one commit, which stays the same for as long as
// it is used. Its methods may be called at the same time.
type Remote interface {
	// List returns the paths of the repo's files; not complete are those that are here,
	// when the hub cannot be asked for the others.
	List(ctx context.Context) (paths []string, complete bool, err error)
	// Fetch brings a file, unless it is there already, and returns its local path.
	// All files of the repo come to lie in one folder, under their own paths.
	Fetch(ctx context.Context, path string) (local string, err error)
}

// Opener opens a repo at a revision: a branch, a tag or a commit; empty is main.
type Opener func(ctx context.Context, repo, revision string) (Remote, error)

// repoName is the form of a repo's name with its owner.
var repoName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// ParseName splits the name of a model on a hub, OWNER/NAME or OWNER/NAME@REVISION.
// It reports false for what can only be a folder.
func ParseName(model string) (repo, revision string, ok bool) {
	repo, revision, pinned := strings.Cut(model, "@")
	if pinned && revision == "" || len(repo) > 96 || !repoName.MatchString(repo) ||
		strings.Contains(repo, "..") || strings.Contains(repo, "--") || strings.HasSuffix(repo, ".git") {
		return "", "", false
	}
	for part := range strings.SplitSeq(repo, "/") {
		if last := part[len(part)-1]; last == '-' || last == '.' {
			return "", "", false
		}
	}
	return repo, revision, true
}

// far says which weights files of a repo are here, and brings the others.
type far struct {
	remote Remote
	dir    string // where the files come to lie
	listed []string
	all    bool // listed is complete

	mu    sync.Mutex
	here  map[string]bool
	turns map[string]chan struct{} // by file; who holds the token fetches it
}

// openRepo fetches a repo's small files and its core, and opens the folder.
func openRepo(ctx context.Context, repo, revision string, hub Opener) (*Pretrained, error) {
	remote, err := hub(ctx, repo, revision)
	if err != nil {
		return nil, err
	}
	f := &far{remote: remote, here: map[string]bool{}, turns: map[string]chan struct{}{}}
	if f.listed, f.all, err = remote.List(ctx); err != nil {
		return nil, err
	}
	if err := f.entry(ctx); err != nil {
		return nil, err
	}
	p, err := open(f.dir, false)
	if err != nil {
		return nil, err
	}
	p.Name, p.far = repo, f
	if err := p.fetchCore(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// entry fetches what a folder is opened by: configuration, tokenizer, and the index
// of the weights or, where there is only one file of them, that.
func (f *far) entry(ctx context.Context) error {
	weights := safetensors.ModelFile
	switch {
	case !f.all && !slices.Contains(f.listed, config.FileName):
		return f.lacks(config.FileName)
	case !slices.Contains(f.listed, config.FileName):
		return fmt.Errorf("the repo has no %s, so it holds no model: %w", config.FileName, fs.ErrNotExist)
	case slices.Contains(f.listed, weights):
	case slices.Contains(f.listed, safetensors.IndexFile):
		weights = safetensors.IndexFile
	case slices.Contains(f.listed, PickleFile) || slices.Contains(f.listed, pickleIndexFile):
		return fmt.Errorf("its weights are in %s alone; download the repo and run `mes convert -o DIR FOLDER` once to get %s", PickleFile, safetensors.ModelFile)
	case !f.all:
		return f.lacks(weights + " or " + safetensors.IndexFile)
	default:
		return fmt.Errorf("%w: %w", safetensors.ErrNoModel, fs.ErrNotExist)
	}
	names := append([]string{config.FileName, config.GenerationFileName}, tokenizerFiles...)
	for _, name := range append(names, weights) {
		if !slices.Contains(f.listed, name) {
			continue
		}
		if err := f.fetch(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// lacks is the error of a file that may be on the hub and is not here.
func (f *far) lacks(file string) error {
	return fmt.Errorf("the hub cannot be asked, and the cache holds no %s of it; pull it once when online: %w", file, fs.ErrNotExist)
}

// fetchCore checks that the index names only files that the repo has, and fetches
// what no encoder owns.
func (p *Pretrained) fetchCore(ctx context.Context) error {
	for _, file := range p.weights.Shards() {
		if p.far.all && !slices.Contains(p.far.listed, file) {
			return fmt.Errorf("%s names %s, which the repo does not have", safetensors.IndexFile, file)
		}
	}
	var names []string
	for _, spec := range p.Config.Swarm.CoreTensors() {
		names = append(names, spec.Name)
	}
	return p.Fetch(ctx, names)
}

// Fetch implements [swarm.Fetcher]. Names of tensors that the model lacks are passed
// over: Info says so of them.
func (p *Pretrained) Fetch(ctx context.Context, names []string) error {
	if p.far == nil {
		return nil
	}
	for _, name := range names {
		name = p.fileName(name)
		for _, name := range []string{name, name + "_scale"} { // int8 has its scales beside it
			file, ok := p.weights.Shard(name)
			if !ok {
				continue
			}
			if err := p.far.fetch(ctx, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// FetchAll brings all weights, and the card, licences and notices that go wherever the
// model goes, as whoever writes it anew needs them.
func (p *Pretrained) FetchAll(ctx context.Context) error {
	if p.far == nil {
		return nil
	}
	for _, name := range p.far.listed {
		folder, file := path.Split(name)
		notice := folder == "" && licenceFile.MatchString(file) || slices.Contains(licenceFolders, path.Clean(folder))
		if !notice && name != CardFile && name != EvaluationFile {
			continue
		}
		if err := p.far.fetch(ctx, name); err != nil {
			return err
		}
	}
	return p.Fetch(ctx, p.Names())
}

// FetchEncoders brings the files of some encoders of a swarm.
func (p *Pretrained) FetchEncoders(ctx context.Context, encoders []int) error {
	for _, e := range encoders {
		var names []string
		for _, spec := range p.Config.Swarm.EncoderTensors(e) {
			names = append(names, spec.Name)
		}
		if err := p.Fetch(ctx, names); err != nil {
			return fmt.Errorf("encoder %d: %w", e, err)
		}
	}
	return nil
}

// has reports whether a file is here; a folder has all its files.
func (f *far) has(file string) bool {
	if f == nil {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.here[file]
}

// fetch brings one file. Of several callers one does it and the others wait, each
// until its own context ends; if the first gives up, the next takes over.
func (f *far) fetch(ctx context.Context, file string) error {
	f.mu.Lock()
	if f.here[file] {
		f.mu.Unlock()
		return nil
	}
	turn, ok := f.turns[file]
	if !ok {
		turn = make(chan struct{}, 1)
		f.turns[file] = turn
	}
	f.mu.Unlock()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-turn }()
	if f.has(file) {
		return nil
	}
	local, err := f.remote.Fetch(ctx, file)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", file, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dir == "" {
		f.dir = filepath.Dir(local)
	}
	if local != filepath.Join(f.dir, filepath.FromSlash(file)) {
		return fmt.Errorf("fetch %s: it came to lie at %s, not in %s", file, local, f.dir)
	}
	f.here[file] = true
	return nil
}
