package hub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// Pretrained is an open model folder. It is the [swarm.Source] of its tensors:
// headers are read at once, data when it is asked for, and the file of an encoder
// only with the first of its tensors. Its methods may be called at the same time.
type Pretrained struct {
	Dir        string
	Config     *config.Config
	Generation *config.GenerationConfig // nil if the folder has no generation_config.json

	set *safetensors.Set
}

// FromPretrained opens a model folder. The error says which file is missing or at
// fault. Close it when no tensor is needed any more.
func FromPretrained(dir string) (*Pretrained, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("open model %s: %w; give a folder with config.json and model.safetensors", dir, notFolder(err))
	}
	cfg, err := config.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", dir, err)
	}
	p := &Pretrained{Dir: dir, Config: cfg}
	gen, err := config.LoadGeneration(filepath.Join(dir, config.GenerationFileName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open model %s: %w", dir, err)
	}
	p.Generation = gen
	if p.set, err = safetensors.OpenDir(dir); err != nil {
		if _, statErr := os.Stat(filepath.Join(dir, PickleFile)); statErr == nil && errors.Is(err, safetensors.ErrNoModel) {
			err = fmt.Errorf("the weights are in %s; run `mes convert %s -o DIR` once to get model.safetensors", PickleFile, dir)
		}
		return nil, fmt.Errorf("open model %s: %w", dir, err)
	}
	return p, nil
}

// PickleFile is the weights file of PyTorch, which only conversion reads.
const PickleFile = "pytorch_model.bin"

func notFolder(err error) error {
	if err == nil {
		return errors.New("it is not a folder")
	}
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("no such folder: %w", os.ErrNotExist)
	}
	return err
}

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
func (p *Pretrained) Close() error { return p.set.Close() }

// Names returns the names of all tensors in the folder, as its files spell them.
func (p *Pretrained) Names() []string { return p.set.Names() }

// Info implements [swarm.Source].
func (p *Pretrained) Info(name string) (dtypes.DType, []int, error) {
	t, err := p.tensor(name)
	if err != nil {
		return dtypes.InvalidDType, nil, err
	}
	dtype, ok := dtypesByName[t.DType]
	if !ok {
		return dtypes.InvalidDType, nil, fmt.Errorf("tensor %s has type %s, which models do not use", name, t.DType)
	}
	return dtype, t.Shape, nil
}

// Read implements [swarm.Source].
func (p *Pretrained) Read(name string, dst []byte) error {
	t, err := p.tensor(name)
	if err != nil {
		return err
	}
	if int64(len(dst)) != t.NumBytes() {
		return fmt.Errorf("tensor %s has %d bytes, %d were asked for", name, t.NumBytes(), len(dst))
	}
	_, err = t.ReadAt(dst, 0)
	return err
}

// Release implements [swarm.Source]: it unmaps the files of encoders.
func (p *Pretrained) Release(names []string) {
	var done []string
	for _, name := range names {
		shard, ok := p.set.Shard(name)
		if !ok || slices.Contains(done, shard) || len(p.set.Shards()) == 1 {
			continue
		}
		done = append(done, shard)
		_ = p.set.Drop(shard) // an error leaves it mapped, which costs address space only
	}
}

// tensor finds a tensor under its own name or that of the original layout.
func (p *Pretrained) tensor(name string) (safetensors.Tensor, error) {
	if p.Config.Original && name == "backbone.embeddings.weight" {
		name = "backbone.embedding.weight"
	}
	t, err := p.set.Tensor(name)
	if errors.Is(err, safetensors.ErrTensorNotFound) {
		return t, fmt.Errorf("%s holds %w", p.Dir, swarm.ErrNoTensor)
	}
	return t, err
}

// dtypesByName are the types of the format that a model's tensors may have.
var dtypesByName = map[safetensors.DType]dtypes.DType{
	safetensors.F64:  dtypes.Float64,
	safetensors.F32:  dtypes.Float32,
	safetensors.F16:  dtypes.Float16,
	safetensors.BF16: dtypes.BFloat16,
	safetensors.I8:   dtypes.Int8,
}
