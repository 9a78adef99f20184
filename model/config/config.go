// Package config reads and writes the config.json of HuggingFace's Mamba models
// and of swarms, and generation_config.json. It describes architecture only; how
// to train or serve is configured where that is done.
//
// Five kinds of file are understood: model_type mamba, mamba2, falcon_mamba and
// mamba_swarm, and the original state-spaces layout, which has no model_type.
// Absent keys take the defaults of transformers 5 (MambaConfig, Mamba2Config,
// FalconMambaConfig) or of mamba_ssm (the original layout). Files are JSON as
// Python writes it: Infinity and NaN are read, bare or in transformers' wrapping
// ({"__float__": "Infinity"}). Unknown keys are kept and written back in their
// place. A key that appears twice is an error.
//
//	c, err := config.Load("weights/mamba2-mini")
//	var faults *config.FaultError
//	if errors.As(err, &faults) { … } // every fault, by field
//
// All keys stand in one table (table.go, original.go), from which also the JSON
// Schema of [Schema] is made.
package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// FileName and GenerationFileName are the names of the two files in a model folder.
const (
	FileName           = "config.json"
	GenerationFileName = "generation_config.json"
)

// Swarm is the model_type of a swarm. The other types are the values of mamba.Kind.
const Swarm = "mamba_swarm"

// modelTypes are the supported values of model_type.
var modelTypes = []string{string(mamba.Mamba1), string(mamba.Mamba2), string(mamba.Falcon), Swarm}

// maxFileBytes bounds what is read; a config of 10,000 named encoders has 400 KB.
const maxFileBytes = 16 << 20

// Config is the content of a config.json. Make one with Parse, Load, Preset, Grow
// or Export; the zero value is not usable.
type Config struct {
	// ModelType is mamba, mamba2, falcon_mamba or mamba_swarm. A file in the
	// original layout has that of its blocks.
	ModelType string
	// Original says that the file is in the layout of state-spaces/mamba. Set it to
	// false to write HuggingFace's.
	Original bool

	Swarm swarm.Config // the network; a plain model has NumEncoderLayers 0

	BOS int   // bos_token_id, -1 none
	EOS []int // eos_token_id, one, several or none
	PAD int   // pad_token_id, -1 none

	// RescaleResidual is rescale_prenorm_residual: whoever reads the weights divides
	// out_proj by the root of the number of layers. It was meant for initialisation,
	// but transformers 5 does it to every checkpoint that it loads.
	RescaleResidual bool

	DType string // torch_dtype or dtype: how the weights are stored; "" unknown
	// GrownFrom names the plain model that every encoder is still a copy of; empty
	// for a trained swarm and for a plain model.
	GrownFrom string
	// Quantization is nil unless the weight matrices are stored in low precision.
	Quantization *Quantization

	architectures []string
	file          []member // what Parse read, unknown keys included
	fileTable     string   // tableName of what Parse read

	// Of the original layout: vocab_size before padding, and what it is padded to a
	// multiple of.
	vocab, vocabMultiple int
	layer                string // ssm_cfg.layer
}

// Parse reads a config.json. Everything wrong with its fields is in one
// *FaultError; text that is not JSON is another error, with line and column.
func Parse(data []byte) (*Config, error) {
	members, err := parseObject(data)
	if err != nil {
		return nil, fmt.Errorf("parse config: %w", err)
	}
	c, err := start(members)
	if err != nil {
		return nil, err
	}
	faults := decode(c.table(), members, c)
	c.derive()
	faults = append(faults, c.crossCheck(faults)...)
	if err := faultError(faults); err != nil {
		return nil, err
	}
	c.file, c.fileTable = members, c.tableName()
	return c, nil
}

// start finds out which kind of file it is and returns its defaults.
func start(members []member) (*Config, error) {
	n, ok := lookup(members, "model_type")
	if _, original := lookup(members, "d_model"); !ok && original {
		return startOriginal(members)
	}
	supported := "supported: " + join(modelTypes) + ", and the original layout of state-spaces/mamba, which has d_model and no model_type"
	switch {
	case !ok:
		return nil, &FaultError{[]Fault{{"model_type", "missing; " + supported}}}
	case n.kind != kindString || !slices.Contains(modelTypes, n.str()):
		return nil, &FaultError{[]Fault{{"model_type", show(n) + " is not supported; " + supported}}}
	case n.str() != Swarm:
		return defaults(n.str(), mamba.Kind(n.str())), nil
	}
	base, ok := lookup(members, "base_model_type")
	kind := mamba.Kind(base.str())
	switch {
	case !ok:
		return nil, &FaultError{[]Fault{{"base_model_type", "missing; supported: " + join(kinds)}}}
	case base.kind != kindString || !slices.Contains(kinds, kind):
		return nil, &FaultError{[]Fault{{"base_model_type", show(base) + " is not supported; supported: " + join(kinds)}}}
	}
	return defaults(Swarm, kind), nil
}

// Load reads a config.json, or that of a folder.
func Load(path string) (*Config, error) {
	data, path, err := readFile(path, FileName)
	if err != nil {
		return nil, fmt.Errorf("load config: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	return c, nil
}

func readFile(path, name string) ([]byte, string, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, name)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, path, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("%s is larger than %d MB, no configuration is", path, maxFileBytes>>20)
	}
	return data, path, err
}

// Marshal writes the configuration in the layout of its ModelType (and Original),
// with the unknown keys of the file it came from. What has not changed is written
// as it was. A configuration that Validate rejects gives Validate's error.
func (c *Config) Marshal() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	table, file := c.table(), c.file
	if c.fileTable != "" && c.fileTable != c.tableName() {
		file = foreignKeys(file, table)
	}
	members := encode(table, file, c, defaults(c.ModelType, c.Swarm.Base.Kind))
	return []byte(node{kind: kindObject, members: members}.String() + "\n"), nil
}

// foreignKeys drops what only a file of another kind says.
func foreignKeys(members []member, table []field[Config]) []member {
	known := func(fields []field[Config], key string) bool {
		return slices.ContainsFunc(fields, func(f field[Config]) bool { return f.named(key) })
	}
	return slices.DeleteFunc(slices.Clone(members), func(m member) bool {
		return !known(table, m.key) && (known(huggingFace, m.key) || known(original, m.key))
	})
}

// Save writes config.json into a folder, whole or not at all.
func (c *Config) Save(dir string) error {
	data, err := c.Marshal()
	if err != nil {
		return fmt.Errorf("save config: %w", err)
	}
	if err := writeFile(filepath.Join(dir, FileName), data); err != nil {
		return fmt.Errorf("save config: %w", err)
	}
	return nil
}

// writeFile writes under a temporary name, syncs, and renames.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Extra returns the text of a key that this package does not know, and whether the
// file had it.
func (c *Config) Extra(key string) (string, bool) {
	if slices.ContainsFunc(c.table(), func(f field[Config]) bool { return f.named(key) }) {
		return "", false
	}
	n, ok := lookup(c.file, key)
	return n.String(), ok
}

// NamesPython reports whether the file that c was read from names, under auto_map,
// the Python classes that mes writes beside a swarm.
func (c *Config) NamesPython() bool {
	has, ok := lookup(c.file, "auto_map")
	want, _ := autoMap.write(c)
	for _, m := range want.members {
		n, found := lookup(has.members, m.key)
		ok = ok && found && n.String() == m.value.String()
	}
	return ok
}

// table returns the keys of a file of c's kind.
func (c *Config) table() []field[Config] {
	if c.Original {
		return original
	}
	return slices.DeleteFunc(slices.Clone(huggingFace), func(f field[Config]) bool {
		foreign := len(f.bases) > 0 && !slices.Contains(f.bases, c.Swarm.Base.Kind)
		return foreign || f.swarm && c.ModelType != Swarm
	})
}

func (c *Config) tableName() string {
	if c.Original {
		return "original " + c.ModelType
	}
	return c.ModelType
}
