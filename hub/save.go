package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gomlx/compute/dtypes"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
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
	// FilesFrom is the folder whose tokenizer files are copied; empty copies none.
	FilesFrom string
	Origin    func(spec swarm.TensorSpec) Origin
	// Precision converts the weights: matrices to bf16, or to int8 in the format
	// int-quantized of compressed-tensors (the embedding and the head stay bf16).
	// Empty keeps every tensor as it is.
	Precision swarm.Precision
	// Progress is called with the bytes written so far and in all; nil is allowed.
	Progress func(done, total int64)
}

// ErrExists is wrapped by the error about a target folder that is not empty.
var ErrExists = errors.New("the folder exists and is not empty")

// SavePretrained writes a model folder in HuggingFace's layout; a swarm gets one
// weights file for each encoder, one for the core, and an index. The folder
// appears whole or not at all: everything is written beside it and renamed.
func SavePretrained(ctx context.Context, o SaveOptions) (err error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("save model %s: %w; choose another or remove it", o.Dir, ErrExists)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	partial, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".partial-")
	if err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	s := &saver{SaveOptions: o, dir: partial}
	if err := s.weights(ctx); err != nil {
		return fmt.Errorf("save model %s: %w", o.Dir, err)
	}
	if err := s.files(); err != nil {
		return fmt.Errorf("save model %s: %w", o.Dir, err)
	}
	if err := os.Chmod(partial, 0o755); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	if err := os.Rename(partial, dir); err != nil {
		return fmt.Errorf("save model %s: %w; another program may have written it", o.Dir, err)
	}
	return syncDir(filepath.Dir(dir))
}

// saver writes one folder.
type saver struct {
	SaveOptions
	dir         string
	done, total int64
}

// planned is a tensor of a file: what it is called there, its type, and how its
// bytes are made.
type planned struct {
	safetensors.Spec
	read func() (io.Reader, error)
}

// weights writes all weights files and, if there are several, their index.
func (s *saver) weights(ctx context.Context) error {
	var order []string
	files := map[string][]planned{}
	for _, spec := range s.Config.Swarm.Tensors() {
		file := safetensors.ModelFile
		if !s.Config.Swarm.Plain() {
			file = FileOf(spec)
		}
		tensors, err := s.plan(spec)
		if err != nil {
			return err
		}
		if _, ok := files[file]; !ok {
			order = append(order, file)
		}
		files[file] = append(files[file], tensors...)
		for _, t := range tensors {
			s.total += bytesFor(t.Spec)
		}
	}
	index := map[string]string{}
	for _, file := range order {
		if err := s.file(ctx, file, files[file]); err != nil {
			return err
		}
		for _, t := range files[file] {
			index[t.Name] = file
		}
	}
	if len(order) == 1 {
		return nil
	}
	return safetensors.WriteIndex(s.dir, index, s.total)
}

func bytesFor(spec safetensors.Spec) int64 {
	n := int64(spec.DType.Bits()) / 8
	for _, d := range spec.Shape {
		n *= int64(d)
	}
	return n
}

// file writes one weights file.
func (s *saver) file(ctx context.Context, name string, tensors []planned) error {
	specs := make([]safetensors.Spec, len(tensors))
	read := map[string]func() (io.Reader, error){}
	for i, t := range tensors {
		specs[i] = t.Spec
		read[t.Name] = t.read
	}
	return safetensors.WriteFile(ctx, filepath.Join(s.dir, name), specs, map[string]string{"format": "pt"}, func(name string) (io.Reader, error) {
		r, err := read[name]()
		return &counter{Reader: r, saver: s}, err
	})
}

// counter reports progress while it is read.
type counter struct {
	io.Reader
	saver *saver
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.saver.done += int64(n)
	if c.saver.Progress != nil {
		c.saver.Progress(c.saver.done, c.saver.total)
	}
	return n, err
}

// plan says which tensors of the file hold spec: one, or int8 weights and scales.
func (s *saver) plan(spec swarm.TensorSpec) ([]planned, error) {
	o := s.Origin(spec)
	stored := dtypes.Float32
	if o.Values == nil {
		have, _, err := o.Source.Info(o.Name)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", o.Name, err)
		}
		if s.Precision == "" {
			return s.copied(spec, o, have)
		}
	}
	if s.Precision != "" {
		stored = s.Precision.Stored(spec.Name)
	}
	if spec.Name == "lm_head.weight" && stored == dtypes.Int8 {
		stored = dtypes.BFloat16
	}
	values := func() ([]float32, error) {
		if o.Values != nil {
			return o.Values, nil
		}
		return swarm.ReadFloats(o.Source, o.Name)
	}
	if stored == dtypes.Int8 {
		return quantised(spec, values), nil
	}
	return []planned{{safetensors.Spec{Name: spec.Name, DType: formatNames[stored], Shape: spec.Shape}, func() (io.Reader, error) {
		v, err := values()
		if err != nil {
			return nil, err
		}
		return bytes.NewReader(swarm.Encode(v, stored)), nil
	}}}, nil
}

// copied keeps a tensor's type, with the scales of an int8 matrix.
func (s *saver) copied(spec swarm.TensorSpec, o Origin, dtype dtypes.DType) ([]planned, error) {
	raw := func(name string, size int) func() (io.Reader, error) {
		return func() (io.Reader, error) {
			data := make([]byte, size)
			err := o.Source.Read(name, data)
			return bytes.NewReader(data), err
		}
	}
	format, ok := formatNames[dtype]
	if !ok {
		return nil, fmt.Errorf("tensor %s: values of type %s cannot be written", o.Name, dtype)
	}
	out := []planned{{safetensors.Spec{Name: spec.Name, DType: format, Shape: spec.Shape}, raw(o.Name, spec.Elements()*dtype.Size())}}
	if dtype == dtypes.Int8 {
		scale, shape, err := o.Source.Info(o.Name + "_scale")
		if err != nil {
			return nil, fmt.Errorf("tensor %s_scale: %w", o.Name, err)
		}
		n := scale.Size()
		for _, d := range shape {
			n *= d
		}
		out = append(out, planned{safetensors.Spec{Name: spec.Name + "_scale", DType: formatNames[scale], Shape: shape}, raw(o.Name+"_scale", n)})
	}
	return out, nil
}

// quantised holds a matrix as int8 rows and f32 scales [rows, 1]. The format puts
// all scales of a file before all rows, so each is computed when it is written:
// one matrix is in memory at a time.
func quantised(spec swarm.TensorSpec, values func() ([]float32, error)) []planned {
	compute := func() ([]int8, []float32, error) {
		v, err := values()
		if err != nil {
			return nil, nil, err
		}
		q, scales, err := swarm.Quantize(v, spec.Shape[0])
		if err != nil {
			return nil, nil, fmt.Errorf("quantise %s: %w", spec.Name, err)
		}
		return q, scales, nil
	}
	return []planned{
		{safetensors.Spec{Name: spec.Name + "_scale", DType: safetensors.F32, Shape: []int{spec.Shape[0], 1}}, func() (io.Reader, error) {
			_, scales, err := compute()
			return bytes.NewReader(swarm.Encode(scales, dtypes.Float32)), err
		}},
		{safetensors.Spec{Name: spec.Name, DType: safetensors.I8, Shape: spec.Shape}, func() (io.Reader, error) {
			q, _, err := compute()
			return bytes.NewReader(dtypes.UnsafeByteSlice(q)), err
		}},
	}
}

// formatNames are the types of the format by GoMLX's.
var formatNames = map[dtypes.DType]safetensors.DType{
	dtypes.Float64: safetensors.F64, dtypes.Float32: safetensors.F32, dtypes.Float16: safetensors.F16,
	dtypes.BFloat16: safetensors.BF16, dtypes.Int8: safetensors.I8,
}

// tokenizerFiles are copied with a model.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
}

// files writes the configuration and copies the tokenizer.
func (s *saver) files() error {
	if err := s.Config.Save(s.dir); err != nil {
		return err
	}
	if s.Generation != nil {
		if err := s.Generation.Save(s.dir); err != nil {
			return err
		}
	}
	if s.FilesFrom == "" {
		return nil
	}
	for _, name := range tokenizerFiles {
		data, err := os.ReadFile(filepath.Join(s.FilesFrom, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := writeSynced(filepath.Join(s.dir, name), data); err != nil {
			return err
		}
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
