package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Folders within the repo of full-precision weights.
const (
	EvaluationFolder = "evaluation" // what was measured
	CheckpointFolder = "checkpoint" // where training goes on from
)

// StageModel writes the folder of a repo that is complete and ready to run: p's
// weights at a precision and all that [SavePretrained] writes beside them. A folder that
// others could not use (see [CheckRepo]) is an error. progress is as in [SaveOptions].
func StageModel(ctx context.Context, p *Pretrained, dir string, precision swarm.Precision, about About, progress func(done, total int64)) error {
	o, err := Convert(p, precision)
	if err != nil {
		return fmt.Errorf("stage %s: %w", dir, err)
	}
	o.Dir, o.About, o.Progress = dir, about, progress
	if err := SavePretrained(ctx, o); err != nil {
		return err
	}
	return CheckRepo(dir)
}

// WeightsOptions say what goes beside full-precision weights.
type WeightsOptions struct {
	Evaluation []string // files, which keep their names in EvaluationFolder
	Run        string   // folder of a training run, which becomes CheckpointFolder; empty is none
	About      About    // for the card
}

// StageWeights writes the folder of the repo that holds p as it is, byte for byte,
// with what was measured and where training goes on from. Files are linked where the
// file system can, so that this costs no space.
func StageWeights(ctx context.Context, p *Pretrained, dir string, o WeightsOptions) error {
	if err := stageWeights(ctx, p, dir, o); err != nil {
		return fmt.Errorf("stage %s: %w", dir, err)
	}
	return nil
}

func stageWeights(ctx context.Context, p *Pretrained, dir string, o WeightsOptions) error {
	names := append([]string{config.FileName, config.GenerationFileName, safetensors.IndexFile}, p.weights.Shards()...)
	notices, err := noticeFiles(p.Dir)
	if err != nil {
		return err
	}
	for _, name := range slices.Concat(names, tokenizerFiles, notices, RemoteCode, []string{EvaluationFile, CardFile}) {
		file, err := inside(p.Dir, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := place(file, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, file := range o.Evaluation {
		if err := place(file, filepath.Join(dir, EvaluationFolder, filepath.Base(file))); err != nil {
			return err
		}
	}
	if o.Run != "" {
		if err := placeFolder(ctx, o.Run, filepath.Join(dir, CheckpointFolder)); err != nil {
			return err
		}
	}
	card, err := readInside(dir, CardFile)
	if err == nil {
		o.About = o.About.or(readAbout(card))
	}
	_, err = WriteCard(dir, p.Config, o.About) // under another name first, so that a linked card stays as it is
	return err
}

// place links a file to a new path, or copies it to another file system.
func place(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", from)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to)
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// placeFolder places the regular files of a folder. Links and hidden files, as those
// of programs that are at work, are left out.
func placeFolder(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		hidden := name != "." && strings.HasPrefix(d.Name(), ".")
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case hidden && d.IsDir():
			return fs.SkipDir
		case hidden || !d.Type().IsRegular():
			return nil
		}
		return place(path, filepath.Join(to, name))
	})
}

// Stale returns which files a publication leaves over in a repo: those that the
// repo's present index of weights names, that are there, and that are not among files.
// Nothing else of a repo is ever stale, as somebody else may have put it there.
func Stale(index []byte, there, files []string) ([]string, error) {
	var old struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &old); err != nil {
		return nil, fmt.Errorf("read %s of the repo: %w", safetensors.IndexFile, err)
	}
	var stale []string
	for tensor, file := range old.WeightMap {
		if file != filepath.Base(file) || !filepath.IsLocal(file) || !strings.HasSuffix(file, ".safetensors") {
			return nil, fmt.Errorf("%s of the repo places tensor %s in %q, which is no file of weights; mend the repo first", safetensors.IndexFile, tensor, file)
		}
		if slices.Contains(there, file) && !slices.Contains(files, file) {
			stale = append(stale, file)
		}
	}
	slices.Sort(stale)
	return slices.Compact(stale), nil
}
