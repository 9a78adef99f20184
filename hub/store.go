package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/mamba-encoder-swarm/mes/hub/pickle"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// store finds tensors in the weights files of a folder. Its methods may be called
// at the same time.
type store interface {
	Names() []string
	Shard(name string) (file string, ok bool)
	Shards() []string
	Drop(file string) error
	Close() error
	// lookup returns a tensor; the error wraps swarm.ErrNoTensor if there is none.
	lookup(name string) (stored, error)
}

// stored is a tensor of a file.
type stored struct {
	dtype safetensors.DType
	shape []int
	bytes int64
	read  func(dst []byte) error // fills dst, which has the tensor's size
}

// mapped is a store of safetensors files, which are opened when they are needed.
type mapped struct{ *safetensors.Set }

func (m mapped) lookup(name string) (stored, error) {
	t, err := m.Tensor(name)
	if errors.Is(err, safetensors.ErrTensorNotFound) {
		return stored{}, swarm.ErrNoTensor
	}
	if err != nil {
		return stored{}, err
	}
	return stored{t.DType, t.Shape, t.NumBytes(), func(dst []byte) error {
		_, err := t.ReadAt(dst, 0)
		return err
	}}, nil
}

// Files of PyTorch weights, which only conversion reads.
const (
	PickleFile      = "pytorch_model.bin"
	pickleIndexFile = "pytorch_model.bin.index.json"
)

// maxIndex bounds the index that is read: a million tensors have 100 MB.
const maxIndex = 100_000_000

// pickled is a store of PyTorch files. All stay open.
type pickled struct {
	shardOf map[string]string
	files   map[string]*pickle.File
}

// hasPickle reports whether a folder holds PyTorch weights.
func hasPickle(dir string) bool {
	for _, name := range []string{PickleFile, pickleIndexFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// openPickle opens pytorch_model.bin or, where there is none, its shards.
func openPickle(dir string) (_ *pickled, err error) {
	p := &pickled{shardOf: map[string]string{}, files: map[string]*pickle.File{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if err := p.open(dir, PickleFile); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			for _, name := range p.files[PickleFile].Names() {
				p.shardOf[name] = PickleFile
			}
		}
		return p, err
	}
	if p.shardOf, err = readPickleIndex(filepath.Join(dir, pickleIndexFile)); err != nil {
		return p, err
	}
	for _, file := range p.Shards() {
		if err := p.open(dir, file); err != nil {
			return p, err
		}
	}
	for _, name := range p.Names() {
		if _, ok := p.files[p.shardOf[name]].Tensor(name); !ok {
			return p, fmt.Errorf("%s places tensor %s in %s, which does not hold it", pickleIndexFile, name, p.shardOf[name])
		}
	}
	return p, nil
}

func (p *pickled) open(dir, file string) error {
	f, err := pickle.Open(filepath.Join(dir, file))
	if err == nil {
		p.files[file] = f
	}
	return err
}

// readPickleIndex returns an index's weight_map.
func readPickleIndex(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.NewDecoder(io.LimitReader(f, maxIndex)).Decode(&index); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for name, file := range index.WeightMap {
		if file != filepath.Base(file) || !filepath.IsLocal(file) {
			return nil, fmt.Errorf("%s places tensor %s in %q, which is no plain file name", path, name, file)
		}
	}
	return index.WeightMap, nil
}

func (p *pickled) Names() []string { return slices.Sorted(maps.Keys(p.shardOf)) }

func (p *pickled) Shard(name string) (string, bool) {
	file, ok := p.shardOf[name]
	return file, ok
}

func (p *pickled) Shards() []string { return slices.Compact(slices.Sorted(maps.Values(p.shardOf))) }

// Drop does nothing: nothing of a file is in memory.
func (p *pickled) Drop(string) error { return nil }

func (p *pickled) Close() error {
	var errs []error
	for _, f := range p.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (p *pickled) lookup(name string) (stored, error) {
	file, ok := p.files[p.shardOf[name]]
	if !ok {
		return stored{}, swarm.ErrNoTensor
	}
	t, ok := file.Tensor(name)
	if !ok {
		return stored{}, swarm.ErrNoTensor
	}
	return stored{safetensors.DType(t.DType), t.Shape, t.NumBytes(), func(dst []byte) error {
		r, err := t.Reader()
		if err != nil {
			return err
		}
		_, err = io.ReadFull(r, dst)
		return err
	}}, nil
}
