package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mamba-encoder-swarm/mes/internal/atomicfile"
	"github.com/mamba-encoder-swarm/mes/model/data"
)

// prepare finds the new domain's data, or makes it of its texts.
func (a *addDomain) prepare(ctx context.Context) error {
	if a.domain == "" {
		path, err := filepath.Abs(a.add)
		if err != nil {
			return err
		}
		a.domain = filepath.Base(path)
	}
	a.data = a.add
	manifest, err := data.ReadManifest(a.data)
	if err != nil && isPrepared(a.data) {
		return err
	}
	if err != nil {
		a.data = filepath.Join(a.out, "data")
		if manifest, err = a.encode(ctx); err != nil {
			return err
		}
	}
	if err := checkVocabulary("-init "+a.init, a.swarm, a.data); err != nil {
		return err
	}
	if len(manifest.Domains) != 1 {
		return fmt.Errorf("%s has %d domains; prepare one, that which is new", a.data, len(manifest.Domains))
	}
	own := manifest.Domains[0].Name
	if a.training.domain != "" && a.training.domain != own {
		return usageError("-domain %s: %s is prepared data, of the domain %s; leave -domain out, or prepare the texts under that name", a.training.domain, a.data, own)
	}
	a.domain = own
	return nil
}

func isPrepared(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, data.ManifestFile))
	return !errors.Is(err, fs.ErrNotExist)
}

// addInput is the file beside prepared texts that says what they were made of.
const addInput = "data-input.json"

// input is its content.
type input struct {
	Path   string `json:"path"` // as it was given
	Domain string `json:"domain"`
	SHA256 string `json:"sha256"` // see [data.InputSum]
}

// encode prepares texts as `mes data prepare` does, all as of one domain, unless an
// earlier run of this folder did.
func (a *addDomain) encode(ctx context.Context) (*data.Manifest, error) {
	own := input{Path: a.add, Domain: a.domain}
	var err error
	if own.SHA256, err = data.InputSum(ctx, a.add); err != nil {
		return nil, err
	}
	if isPrepared(a.data) {
		if err := a.checkInput(own); err != nil {
			return nil, err
		}
		return data.ReadManifest(a.data)
	}
	text, err := json.MarshalIndent(own, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.out, 0o777); err != nil {
		return nil, err
	}
	if err := atomicfile.Write(filepath.Join(a.out, addInput), append(text, '\n'), 0o666); err != nil {
		return nil, err
	}
	bar := a.m.progress("prepare")
	defer bar.finish()
	return data.Prepare(ctx, data.PrepareConfig{
		Out: a.data, Inputs: []string{a.add}, Tokenizer: a.swarm.Dir, MaxDocument: data.DefaultMaxDocument, Progress: bar.set,
		Rules: data.Rules{Files: []data.Rule{{Glob: "**", Domain: a.domain}}, TextField: "text", IDField: "id", GroupField: "group",
			SplitBy: data.ByFolder, ValidFraction: 0.05, DuplicateIDs: data.Keep, InvalidUTF8: data.Skip},
	})
}

// checkInput refuses texts other than those that the run's data was made of.
func (a *addDomain) checkInput(own input) error {
	text, err := os.ReadFile(filepath.Join(a.out, addInput))
	if err != nil {
		return fmt.Errorf("%s is there, but not what says of which texts it was made: take another -o: %w", a.data, err)
	}
	var was input
	if err := json.Unmarshal(text, &was); err != nil {
		return fmt.Errorf("read %s: %w; take another -o", filepath.Join(a.out, addInput), err)
	}
	switch {
	case was.SHA256 == own.SHA256 && was.Domain == own.Domain:
		return nil
	case was.Path == own.Path && was.Domain == own.Domain:
		return fmt.Errorf("the texts in %s changed after %s was made of them: take another -o, or remove %s to start anew", own.Path, a.data, a.out)
	}
	return fmt.Errorf("%s was made of %s for the domain %s, not of %s for %s: go on with those, or take another -o", a.data, was.Path, was.Domain, own.Path, own.Domain)
}

// texts reads texts of a split, about so many, evenly from each of its domains.
func texts(dir, split string, most int) ([][]int32, error) {
	manifest, err := data.ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	var out [][]int32
	for _, s := range manifest.Stats() {
		if s.Split != split || s.Domain == "" || s.Documents == 0 {
			continue
		}
		some, err := data.Sample(dir, split, s.Domain, addLength, max(1, most/len(manifest.Domains)))
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
	}
	return out, nil
}
