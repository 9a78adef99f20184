package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Names of the files that a model folder is entered by.
const (
	ModelFile = "model.safetensors"            // the only file of an undivided model
	IndexFile = "model.safetensors.index.json" // which shard holds which tensor
)

// Set is the tensors of a model folder: one file, or shards with an index. A shard
// is opened when one of its tensors is first asked for. Its methods may be called
// at the same time.
type Set struct {
	dir     string
	shardOf map[string]string // tensor → file name

	mu   sync.Mutex
	open map[string]*File // by file name
}

// OpenDir opens the folder's model.safetensors or, where there is none, its index;
// shards stay closed. Faults are an [*Error].
func OpenDir(dir string) (*Set, error) {
	s := &Set{dir: dir, shardOf: map[string]string{}, open: map[string]*File{}}
	f, err := Open(filepath.Join(dir, ModelFile))
	switch {
	case err == nil:
		for name := range f.tensors {
			s.shardOf[name] = ModelFile
		}
		s.open[ModelFile] = f
		return s, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	path := filepath.Join(dir, IndexFile)
	s.shardOf, err = readIndex(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Path: dir, Err: fmt.Errorf("%w: %w", ErrNoModel, fs.ErrNotExist)}
	}
	if err != nil {
		return nil, inFile(path, err)
	}
	return s, nil
}

// readIndex returns an index's weight_map.
func readIndex(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxHeader {
		return nil, &Error{Err: ErrIndexTooLarge, Detail: fmt.Sprintf("%d bytes", info.Size())}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return decodeIndex(raw)
}

// decodeIndex decodes an index; what it says beside weight_map is passed over.
func decodeIndex(raw []byte) (map[string]string, error) {
	d := &decoder{dec: jsontext.NewDecoder(bytes.NewReader(raw)), kind: ErrIndexJSON}
	var shardOf map[string]string
	err := d.object(func(key string) (err error) {
		if key == "weight_map" {
			shardOf, err = d.stringMap()
			return err
		}
		return d.skip()
	})
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return nil, err
	}
	if shardOf == nil {
		return nil, d.fault("weight_map is missing")
	}
	for _, name := range slices.Sorted(maps.Keys(shardOf)) {
		if !plainName(shardOf[name]) {
			return nil, &Error{Tensor: name, Err: ErrShardName, Detail: shardOf[name]}
		}
	}
	return shardOf, nil
}

// plainName reports whether name is a file of the folder itself on every system.
func plainName(name string) bool {
	return filepath.IsLocal(name) && name != "." && !strings.ContainsAny(name, "/\\:\x00")
}

// Names returns the names of all tensors, sorted.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.shardOf)) }

// Shard returns the name of the file that holds the tensor, false when the folder
// has no such tensor.
func (s *Set) Shard(name string) (string, bool) {
	shard, ok := s.shardOf[name]
	return shard, ok
}

// Shards returns the names of the folder's files, sorted.
func (s *Set) Shards() []string {
	return slices.Compact(slices.Sorted(maps.Values(s.shardOf)))
}

// Tensor returns the tensor called name and opens its shard when it is closed. Errors
// are [ErrTensorNotFound], [ErrShardMissing], [ErrNotInShard], and those of [Open].
func (s *Set) Tensor(name string) (Tensor, error) {
	shard, ok := s.shardOf[name]
	if !ok {
		return Tensor{}, &Error{Path: s.dir, Tensor: name, Err: ErrTensorNotFound}
	}
	f, err := s.file(shard)
	path := filepath.Join(s.dir, shard)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Tensor{}, &Error{Path: path, Tensor: name, Err: fmt.Errorf("%w: %w", ErrShardMissing, fs.ErrNotExist)}
	case err != nil:
		return Tensor{}, err
	}
	t, ok := f.Tensor(name)
	if !ok {
		return Tensor{}, &Error{Path: path, Tensor: name, Err: ErrNotInShard}
	}
	return t, nil
}

// file returns an open shard.
func (s *Set) file(shard string) (*File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return nil, fmt.Errorf("open shard %s: %w", shard, os.ErrClosed)
	}
	if f, ok := s.open[shard]; ok {
		return f, nil
	}
	f, err := Open(filepath.Join(s.dir, shard))
	if err == nil {
		s.open[shard] = f
	}
	return f, err
}

// Drop unmaps and closes a shard by its file name; a closed one stays closed. Its
// tensors then read os.ErrClosed; asking for one by name opens the shard anew.
func (s *Set) Drop(shard string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.open[shard]
	if !ok {
		return nil
	}
	delete(s.open, shard)
	return f.Close()
}

// Close closes every open shard and the set.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range s.open {
		errs = append(errs, f.Close())
	}
	s.open = nil
	return errors.Join(errs...)
}
