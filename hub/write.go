package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// writer writes one folder.
type writer struct {
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

// weights writes all weights files and, if there are several, their index. Source
// files are let go as soon as no tensor of the file at hand needs them.
func (w *writer) weights(ctx context.Context) error {
	files, err := w.planAll()
	if err != nil {
		return err
	}
	index := map[string]string{}
	for _, f := range files {
		if err := w.file(ctx, f); err != nil {
			return err
		}
		f.release()
		for _, t := range f.tensors {
			index[t.Name] = f.name
		}
	}
	if len(files) == 1 {
		return nil
	}
	return safetensors.WriteIndex(w.dir, index, w.total)
}

// weightsFile is one file to write.
type weightsFile struct {
	name    string
	tensors []planned
	origins []Origin
}

// release lets the source files of the tensors go.
func (f *weightsFile) release() {
	for _, o := range f.origins {
		if o.Source != nil {
			o.Source.Release([]string{o.Name})
		}
	}
}

// planAll says what each file holds. The error names every tensor at fault.
func (w *writer) planAll() ([]*weightsFile, error) {
	var files []*weightsFile
	var faults []error
	told := map[string]bool{}                       // encoders may be copies of one tensor
	for _, spec := range w.Config.Swarm.Tensors() { // one file after the other
		name := safetensors.ModelFile
		if !w.Config.Swarm.Plain() {
			name = FileOf(spec)
		}
		if len(files) == 0 || files[len(files)-1].name != name {
			if len(files) > 0 {
				files[len(files)-1].release()
			}
			files = append(files, &weightsFile{name: name})
		}
		o := w.Origin(spec)
		tensors, err := w.plan(spec, o)
		if err != nil && !told[err.Error()] {
			faults = append(faults, err)
			told[err.Error()] = true
		}
		f := files[len(files)-1]
		f.tensors, f.origins = append(f.tensors, tensors...), append(f.origins, o)
		for _, t := range tensors {
			w.total += bytesFor(t.Spec)
		}
	}
	return files, errors.Join(faults...)
}

func bytesFor(spec safetensors.Spec) int64 {
	n := int64(spec.DType.Bits()) / 8
	for _, d := range spec.Shape {
		n *= int64(d)
	}
	return n
}

// file writes one weights file.
func (w *writer) file(ctx context.Context, f *weightsFile) error {
	specs := make([]safetensors.Spec, len(f.tensors))
	read := map[string]func() (io.Reader, error){}
	for i, t := range f.tensors {
		specs[i] = t.Spec
		read[t.Name] = t.read
	}
	return safetensors.WriteFile(ctx, filepath.Join(w.dir, f.name), specs, map[string]string{"format": "pt"}, func(name string) (io.Reader, error) {
		r, err := read[name]()
		return &counter{r, w}, err
	})
}

// counter reports progress while it is read.
type counter struct {
	io.Reader
	w *writer
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.w.done += int64(n)
	if c.w.Progress != nil {
		c.w.Progress(c.w.done, c.w.total)
	}
	return n, err
}

// plan says which tensors of the file hold spec: one, or int8 weights and scales.
func (w *writer) plan(spec swarm.TensorSpec, o Origin) ([]planned, error) {
	stored := dtypes.Float32
	if w.Precision != "" {
		stored = w.Precision.Stored(spec.Name)
	}
	if spec.Name == "lm_head.weight" && stored == dtypes.Int8 {
		stored = dtypes.BFloat16
	}
	if o.Values == nil {
		have, shape, err := o.Source.Info(o.Name)
		if err != nil {
			return nil, fmt.Errorf("tensor %s %v: %w", o.Name, spec.Shape, err)
		}
		if !slices.Equal(shape, spec.Shape) {
			return nil, fmt.Errorf("tensor %s: expected shape %v, found %v; config.json does not fit the weights", o.Name, spec.Shape, shape)
		}
		if w.Precision == "" || have == stored {
			return copied(spec, o, have)
		}
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

// copied keeps a tensor's bytes, and the scales of an int8 matrix.
func copied(spec swarm.TensorSpec, o Origin, dtype dtypes.DType) ([]planned, error) {
	out := []planned{raw(spec.Name, spec.Shape, o, dtype)}
	if dtype != dtypes.Int8 {
		return out, nil
	}
	o.Name += "_scale"
	dtype, shape, err := o.Source.Info(o.Name)
	if err != nil {
		return nil, fmt.Errorf("tensor %s: %w", o.Name, err)
	}
	if want := []int{spec.Shape[0], 1}; !slices.Equal(shape, want) {
		return nil, fmt.Errorf("tensor %s: expected shape %v, one scale per row, found %v", o.Name, want, shape)
	}
	return append(out, raw(spec.Name+"_scale", shape, o, dtype)), nil
}

// raw is a tensor whose bytes are those of its origin.
func raw(name string, shape []int, o Origin, dtype dtypes.DType) planned {
	spec := safetensors.Spec{Name: name, DType: formatNames[dtype], Shape: shape}
	return planned{spec, func() (io.Reader, error) {
		data := make([]byte, bytesFor(spec))
		err := o.Source.Read(o.Name, data)
		return bytes.NewReader(data), err
	}}
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
