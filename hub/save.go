package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Origin says where a tensor's values come from: a tensor of a Source, or Values
// made anew.
type Origin struct {
	Source swarm.Source
	Name   string
	Values []float32
}

// SaveOptions say what SavePretrained writes. Config, Origin and Dir are needed.
type SaveOptions struct {
	Dir        string // made by the call; it may exist if it is empty
	Config     *config.Config
	Generation *config.GenerationConfig // nil writes none
	// FilesFrom is the folder whose tokenizer, licences and notices are copied; empty
	// copies none. A card that somebody wrote there goes along: as the new folder's
	// own, or, where Derived says that it describes another model, among the licences.
	FilesFrom string
	Derived   bool
	About     About // for the model card; what it leaves empty is taken from the card in FilesFrom
	Origin    func(spec swarm.TensorSpec) Origin
	// Precision converts the weights: matrices to bf16, or to int8 in the format
	// int-quantized of compressed-tensors (embedding and head are bf16 then).
	// Empty keeps every tensor as it is. Config must say the same, as that of
	// [Convert] does.
	Precision swarm.Precision
	// Progress is called with the bytes written so far and in all; nil is allowed.
	Progress func(done, total int64)
}

// ErrExists is wrapped by the error about a target folder that is not empty.
var ErrExists = errors.New("the folder exists and is not empty")

// SavePretrained writes a model folder in HuggingFace's layout; a swarm gets one
// weights file for each encoder, one for the core, and an index. The folder
// appears whole or not at all: everything is written beside it and renamed. Of two
// that write the same folder at once the second gets [ErrExists]. An error about
// tensors names all that are missing or do not fit.
func SavePretrained(ctx context.Context, o SaveOptions) error {
	if err := save(ctx, o); err != nil {
		return fmt.Errorf("save model %s: %w", o.Dir, err)
	}
	return nil
}

func save(ctx context.Context, o SaveOptions) (err error) {
	dir, err := target(o.Dir)
	if err != nil {
		return err
	}
	made, err := makeParents(filepath.Dir(dir))
	defer func() {
		if err != nil {
			for _, parent := range slices.Backward(made) {
				_ = os.Remove(parent) // fails if another program uses it by now
			}
		}
	}()
	if err != nil {
		return err
	}
	partial, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".partial-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	w := &writer{SaveOptions: o, dir: partial}
	if err := w.weights(ctx); err != nil {
		return err
	}
	if err := w.files(); err != nil {
		return err
	}
	if err := os.Chmod(partial, 0o755); err != nil {
		return err
	}
	return appear(partial, dir)
}

// target returns the absolute path of a folder to write, or why it cannot be.
func target(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return dir, nil
	case err != nil:
		return "", fmt.Errorf("%w; choose another folder", err)
	case len(entries) > 0:
		return "", fmt.Errorf("%w; choose another or remove it", ErrExists)
	}
	return dir, nil
}

// makeParents makes a folder and those above it, and returns the ones that it made,
// outermost first.
func makeParents(dir string) (made []string, err error) {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			break
		}
		made = slices.Insert(made, 0, d)
	}
	return made, os.MkdirAll(dir, 0o755)
}

// appear gives a finished folder its name, in place of an empty one.
func appear(partial, dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return written(dir, err)
	}
	if err := os.Rename(partial, dir); err != nil {
		return written(dir, err)
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// written explains why a folder could not take its place.
func written(dir string, err error) error {
	if entries, readErr := os.ReadDir(dir); readErr == nil && len(entries) > 0 {
		return fmt.Errorf("%w: another program wrote it in the meantime", ErrExists)
	}
	return err
}

// files writes everything but the weights: the configuration, a swarm's Python, what
// the folder of origin holds beside its weights, and the model card.
func (w *writer) files() error {
	cfg := *w.Config
	cfg.RescaleResidual = false // the tensors were divided when they were read
	if err := cfg.Save(w.dir); err != nil {
		return err
	}
	if w.Generation != nil {
		if err := w.Generation.Save(w.dir); err != nil {
			return err
		}
	}
	if !cfg.Swarm.Plain() {
		if err := writeRemoteCode(w.dir); err != nil {
			return err
		}
	}
	about := w.About
	if w.FilesFrom != "" {
		var err error
		if about, err = w.copyFiles(about); err != nil {
			return err
		}
	}
	if about.Repo == "" { // the folder does not have its name yet
		about.Repo = filepath.Base(w.Dir)
	}
	_, err := WriteCard(w.dir, &cfg, about)
	return err
}

func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
