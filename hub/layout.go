package hub

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// CoreFile is the file of a swarm that holds everything but the encoders.
const CoreFile = "model-core.safetensors"

// EncoderFile returns the name of the file that holds encoder e of a swarm.
func EncoderFile(e int) string { return fmt.Sprintf("model-encoder-%05d.safetensors", e) }

// FileOf returns the weights file that a tensor of a swarm belongs to.
func FileOf(spec swarm.TensorSpec) string {
	if spec.Encoder == swarm.None {
		return CoreFile
	}
	return EncoderFile(spec.Encoder)
}

// RepoFiles lists the files that a model repository must hold: configuration, model
// card, a tokenizer (tokenizer.json here; tokenizer.model does as well), weights,
// and for a swarm the Python that runs it. Of a plain model in shards the index
// stands for model.safetensors.
func RepoFiles(c *config.Config) []string {
	files := []string{config.FileName, CardFile, vocabularyFiles[0]}
	if c.Swarm.Plain() {
		return append(files, safetensors.ModelFile)
	}
	files = append(append(files, RemoteCode...), safetensors.IndexFile, CoreFile)
	for e := range c.Swarm.Router.NumEncoders {
		files = append(files, EncoderFile(e))
	}
	return files
}

// CheckRepo reports everything that keeps a folder from being published as a model
// repository that others can use, joined into one error: files of [RepoFiles] that
// are missing, tensors that are missing or do not fit, a swarm whose configuration
// does not name its Python, a card without front matter, files that run code when
// they are loaded, and links that leave the folder.
func CheckRepo(dir string) error {
	p, err := open(dir, false)
	if err != nil {
		return err
	}
	defer p.Close()
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: "+format, append([]any{dir}, args...)...))
	}
	for _, name := range RepoFiles(p.Config) {
		if !p.holds(name) {
			fault("%s is missing", name)
		}
	}
	for _, problem := range Inspect(p).Problems {
		fault("%s", problem)
	}
	if card, err := readInside(dir, CardFile); err == nil && !hasFrontMatter(card) {
		fault("%s does not begin with front matter between two lines of ---, by which a Hub finds and shows a model", CardFile)
	}
	if !p.Config.Swarm.Plain() && !p.Config.NamesPython() {
		fault("%s has no auto_map, so transformers does not find %s; `mes convert` writes a folder that has one", config.FileName, strings.Join(RemoteCode, " and "))
	}
	return errors.Join(append(faults, checkEntries(dir)...)...)
}

// holds reports whether a file, or what does as well, is there.
func (p *Pretrained) holds(name string) bool {
	names := []string{name}
	switch name {
	case vocabularyFiles[0]:
		names = vocabularyFiles
	case safetensors.ModelFile:
		names = append(names, safetensors.IndexFile)
	}
	return slices.ContainsFunc(names, func(name string) bool {
		info, err := os.Stat(filepath.Join(p.Dir, name))
		return err == nil && info.Mode().IsRegular()
	})
}

func hasFrontMatter(card []byte) bool {
	card = bytes.ReplaceAll(card, []byte("\r\n"), []byte("\n"))
	return bytes.HasPrefix(card, []byte("---\n")) && bytes.Contains(card[3:], []byte("\n---\n"))
}

// pickledEndings are those of files that run code when Python loads them.
var pickledEndings = []string{".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"}

// checkEntries walks a folder for what must not be published.
func checkEntries(dir string) []error {
	var faults []error
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if slices.Contains(pickledEndings, strings.ToLower(filepath.Ext(name))) {
			faults = append(faults, fmt.Errorf("%s: %s runs code when it is loaded; leave it out, `mes convert` writes safetensors", dir, name))
		}
		if e.Type()&fs.ModeSymlink != 0 {
			if _, err := inside(dir, name); err != nil {
				faults = append(faults, err)
			}
		}
		return nil
	})
	if err != nil {
		faults = append(faults, fmt.Errorf("check %s: %w", dir, err))
	}
	return faults
}
