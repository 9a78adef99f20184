package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// Pretrained is an open model folder. It is the [swarm.Fetcher] of its tensors:
// headers are read at once, data when it is asked for, and the file of an encoder
// only with the first of its tensors. Its methods may be called at the same time.
type Pretrained struct {
	Name       string // last element of the folder's path, or the repo's name
	Dir        string
	Config     *config.Config
	Generation *config.GenerationConfig // nil if the folder has no generation_config.json

	weights store
	far     *far // nil for a folder
}

// FromPretrained opens a model: a folder, or a repo of a hub by its name, such as
// alice/mamba-swarm-model, with @ and a branch, tag or commit behind it if it is not
// main. A folder of that name wins. hub opens repos; nil allows folders only.
//
// Of a repo configuration, tokenizer and all weights but a swarm's encoders are
// fetched at once, the file of an encoder by [Pretrained.Fetch].
//
// The error says which file is missing or at fault. Close it when no tensor is needed
// any more.
func FromPretrained(ctx context.Context, model string, hub Opener) (*Pretrained, error) {
	repo, revision, ok := ParseName(model)
	if hub == nil || !ok || isFolder(model) {
		return open(model, false)
	}
	p, err := openRepo(ctx, repo, revision, hub)
	if err != nil {
		return nil, fmt.Errorf("open model %s: there is no such folder, and on the hub: %w", model, err)
	}
	return p, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// FromCheckpoint opens a folder to convert it: like FromPretrained, but where there
// is no safetensors file it reads pytorch_model.bin, or its shards.
func FromCheckpoint(dir string) (*Pretrained, error) { return open(dir, true) }

func open(dir string, pytorch bool) (*Pretrained, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("open model %s: %w; give a folder with config.json and model.safetensors", dir, notFolder(err))
	}
	cfg, err := config.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", dir, err)
	}
	p := &Pretrained{Name: folderName(dir), Dir: dir, Config: cfg}
	p.Generation, err = config.LoadGeneration(filepath.Join(dir, config.GenerationFileName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open model %s: %w", dir, err)
	}
	set, err := safetensors.OpenDir(dir)
	switch {
	case err == nil:
		p.weights = mapped{set}
	case !errors.Is(err, safetensors.ErrNoModel) || !hasPickle(dir):
		return nil, fmt.Errorf("open model %s: %w", dir, err)
	case !pytorch:
		return nil, fmt.Errorf("open model %s: the weights are in %s; run `mes convert -o DIR %s` once to get model.safetensors", dir, PickleFile, dir)
	default:
		if p.weights, err = openPickle(dir); err != nil {
			return nil, fmt.Errorf("open model %s: %w", dir, err)
		}
	}
	p.weights = rescale(p.weights, cfg)
	return p, nil
}

// folderName is what a folder is called, also where its path is "."; the folder model
// in that of a training run is called as the run.
func folderName(dir string) string {
	if path, err := filepath.Abs(dir); err == nil {
		dir = path
	}
	if run := filepath.Dir(dir); filepath.Base(dir) == "model" {
		if _, err := os.Stat(filepath.Join(run, "metrics.jsonl")); err == nil {
			return filepath.Base(run)
		}
	}
	return filepath.Base(dir)
}

func notFolder(err error) error {
	if err == nil {
		return errors.New("it is not a folder")
	}
	if errors.Is(err, os.ErrNotExist) {
		return noFolder{}
	}
	return err
}

// noFolder is os.ErrNotExist in better words.
type noFolder struct{}

func (noFolder) Error() string        { return "no such folder" }
func (noFolder) Is(target error) bool { return target == os.ErrNotExist }

// Tokenizer opens the folder's tokenizer and checks that its ids fit the model.
func (p *Pretrained) Tokenizer() (tokenizer.Tokenizer, error) {
	t, err := tokenizer.Load(p.Dir)
	if err != nil {
		return nil, err
	}
	if n, v := t.VocabSize(), p.Config.Swarm.Base.VocabSize; n > v {
		return nil, errors.Join(
			fmt.Errorf("tokenizer of %s has %d ids, but vocab_size in config.json is %d; the tokenizer belongs to another model", p.Dir, n, v),
			t.Close())
	}
	return t, nil
}

// Close closes the weights files.
func (p *Pretrained) Close() error { return p.weights.Close() }

// Names returns the names of all tensors in the folder, as its files spell them.
func (p *Pretrained) Names() []string { return p.weights.Names() }

// Surplus returns the names of the tensors in the folder that its model does not
// use. A copy of the embedding as head of a model that ties the two is not among
// them.
func (p *Pretrained) Surplus() []string {
	used := map[string]bool{"lm_head.weight": true}
	for _, spec := range p.Config.Swarm.Tensors() {
		name := p.fileName(spec.Name)
		used[name], used[name+"_scale"] = true, true
	}
	var out []string
	for _, name := range p.Names() {
		if !used[name] {
			out = append(out, name)
		}
	}
	return out
}

// Info implements [swarm.Source].
func (p *Pretrained) Info(name string) (dtypes.DType, []int, error) {
	t, err := p.tensor(name)
	if err != nil {
		return dtypes.InvalidDType, nil, err
	}
	return t.info()
}

// info says what Info of a source returns.
func (t stored) info() (dtypes.DType, []int, error) {
	dtype, ok := dtypesByName[t.dtype]
	if !ok {
		return dtypes.InvalidDType, nil, fmt.Errorf("expected a float or int8 type, found %s", t.dtype)
	}
	return dtype, t.shape, nil
}

// Read implements [swarm.Source].
func (p *Pretrained) Read(name string, dst []byte) error {
	for {
		t, err := p.tensor(name)
		if err != nil {
			return err
		}
		if int64(len(dst)) != t.bytes {
			return fmt.Errorf("tensor %s has %d bytes, %d were asked for", name, t.bytes, len(dst))
		}
		// A Release at the same time may have closed the file: it is opened anew.
		if err := t.read(dst); !errors.Is(err, os.ErrClosed) {
			return err
		}
	}
}

// Release implements [swarm.Source]: it unmaps the files of encoders.
func (p *Pretrained) Release(names []string) {
	last := ""
	for _, name := range names {
		file, ok := p.weights.Shard(p.fileName(name))
		if !ok || file == last || file == safetensors.ModelFile || file == PickleFile {
			continue
		}
		last = file
		_ = p.weights.Drop(file) // an error leaves it mapped, which costs address space only
	}
}

// tensor finds a tensor under its own name or that of the original layout.
func (p *Pretrained) tensor(name string) (stored, error) {
	name = p.fileName(name)
	if file, ok := p.weights.Shard(name); ok && !p.far.has(file) {
		return stored{}, fmt.Errorf("%s of %s: %w", file, p.Name, swarm.ErrFar)
	}
	t, err := p.weights.lookup(name)
	if errors.Is(err, swarm.ErrNoTensor) {
		return t, fmt.Errorf("%s holds %w", p.Dir, err)
	}
	return t, err
}

// fileName returns what the folder's files call a tensor: the original layout has
// another name for the embedding.
func (p *Pretrained) fileName(name string) string {
	if p.Config.Original {
		return strings.Replace(name, "backbone.embeddings.", "backbone.embedding.", 1)
	}
	return name
}

// dtypesByName are the types of the format that a model's tensors may have.
var dtypesByName = map[safetensors.DType]dtypes.DType{
	safetensors.F64:  dtypes.Float64,
	safetensors.F32:  dtypes.Float32,
	safetensors.F16:  dtypes.Float16,
	safetensors.BF16: dtypes.BFloat16,
	safetensors.I8:   dtypes.Int8,
}
