package hub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Report says what a model folder holds and what running its model costs. Sizes
// are bytes.
type Report struct {
	Model     string `json:"model"` // folder
	ModelType string `json:"model_type"`
	Base      string `json:"base_model_type"`
	GrownFrom string `json:"grown_from,omitempty"`

	Layers         int `json:"layers"`
	EncoderLayers  int `json:"encoder_layers"`
	Encoders       int `json:"encoders"` // 0 for a plain model
	ActiveEncoders int `json:"active_encoders"`

	Parameters       int64 `json:"parameters"`
	ActiveParameters int64 `json:"active_parameters"` // that a token meets
	FLOPs            int64 `json:"flops_per_token"`   // see [swarm.Config.FLOPs]

	DiskBytes   map[string]int64          `json:"disk_bytes"`          // tensors by type in the files
	MemoryBytes map[swarm.Precision]int64 `json:"active_memory_bytes"` // see [swarm.Config.MemoryBytes]

	Tree  []Group      `json:"tensors"`
	Files []ReportFile `json:"files"`
	// Surplus are tensors of the files that the model does not use.
	Surplus []string `json:"surplus,omitempty"`
	// Problems are tensors and files that are missing or do not fit; a model with
	// any does not run.
	Problems []string `json:"problems,omitempty"`
}

// ReportFile is a weights file.
type ReportFile struct {
	Name    string `json:"name"`
	Bytes   int64  `json:"bytes"` // -1 if it is not there
	Tensors int    `json:"tensors"`
}

// Inspect reads the headers of p's weights files, one file at a time, and no data.
// What is wrong with the files is in the report's Problems.
func Inspect(p *Pretrained) *Report {
	c := p.Config.Swarm
	total, active := c.Parameters()
	r := &Report{
		Model: p.Dir, ModelType: p.Config.ModelType, Base: string(c.Base.Kind), GrownFrom: p.Config.GrownFrom,
		Layers: c.Base.NLayer, EncoderLayers: c.NumEncoderLayers,
		Parameters: int64(total), ActiveParameters: int64(active), FLOPs: c.FLOPs(),
		DiskBytes: map[string]int64{}, MemoryBytes: map[swarm.Precision]int64{}, Surplus: p.Surplus(),
	}
	if !c.Plain() {
		r.Encoders, r.ActiveEncoders = c.Router.NumEncoders, c.Router.EncodersPerToken
	}
	for _, precision := range []swarm.Precision{swarm.F32, swarm.BF16, swarm.Int8} {
		r.MemoryBytes[precision] = c.MemoryBytes(precision)
	}
	h := p.headers(r)
	for _, t := range h.tensors {
		r.DiskBytes[string(t.dtype)] += t.bytes
	}
	r.Tree = tree(c, h)
	for _, err := range list(c.Check(h, true)) {
		if !errors.Is(err, errReported) {
			r.Problems = append(r.Problems, err.Error())
		}
	}
	return r
}

// headers are types and shapes of tensors as the files have them, in memory.
type headers struct {
	p       *Pretrained
	files   store
	tensors map[string]stored // by the files' names
	faults  map[string]error  // of tensors that could not be looked up
}

// errReported marks the tensors of a file that is a problem as a whole.
var errReported = errors.New("its file is at fault")

// headers reads the header of every file, closing each before the next, and adds
// the files and their faults to the report.
func (p *Pretrained) headers(r *Report) *headers {
	h := &headers{p: p, files: p.weights, tensors: map[string]stored{}, faults: map[string]error{}}
	if r, ok := p.weights.(rescaled); ok {
		h.files = r.store
	}
	namesIn := map[string][]string{}
	for _, name := range p.Names() {
		file, _ := p.weights.Shard(name)
		namesIn[file] = append(namesIn[file], name)
	}
	for _, file := range p.weights.Shards() {
		f := ReportFile{Name: file, Bytes: -1, Tensors: len(namesIn[file])}
		if info, err := os.Stat(filepath.Join(p.Dir, file)); err == nil {
			f.Bytes = info.Size()
		}
		r.Files = append(r.Files, f)
		if err := h.read(namesIn[file]); err != nil {
			r.Problems = append(r.Problems, err.Error())
		}
		p.Release(namesIn[file][:1])
	}
	return h
}

// read looks up tensors of one file. The error is one of the file, after which
// none of its tensors is known.
func (h *headers) read(names []string) error {
	for _, name := range names {
		t, err := h.files.lookup(name)
		switch {
		case err == nil:
			h.tensors[name] = t
		case errors.Is(err, safetensors.ErrNotInShard):
			h.faults[name] = err
		default:
			for _, name := range names {
				h.faults[name] = errReported
			}
			return err
		}
	}
	return nil
}

// Info implements [swarm.Source].
func (h *headers) Info(name string) (dtypes.DType, []int, error) {
	name = h.p.fileName(name)
	if err := h.faults[name]; err != nil {
		return dtypes.InvalidDType, nil, err
	}
	t, ok := h.tensors[name]
	if !ok {
		return dtypes.InvalidDType, nil, fmt.Errorf("%s holds %w", h.p.Dir, swarm.ErrNoTensor)
	}
	return t.info()
}

// Read implements [swarm.Source]: headers hold no data.
func (h *headers) Read(name string, _ []byte) error {
	return fmt.Errorf("read tensor %s: only its header was read", name)
}

// Release implements [swarm.Source].
func (h *headers) Release([]string) {}

// list splits what errors.Join joined.
func list(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// Group is a run of layers, or of encoders, with the same tensors; or the tensors
// outside of layers.
type Group struct {
	// Name is "backbone.layers.3-11" or "backbone.encoders.0-4"; empty outside of
	// both.
	Name    string         `json:"name,omitempty"`
	Count   int            `json:"count"` // how often the tensors are there
	Tensors []ReportTensor `json:"tensors"`
}

// ReportTensor is a tensor that the model needs.
type ReportTensor struct {
	Name  string `json:"name"` // below its group's name
	Shape []int  `json:"shape"`
	DType string `json:"dtype"` // in the file; "missing" if there is none
}

// Parameters returns how many values the group holds, all copies included.
func (g Group) Parameters() int64 {
	n := 0
	for _, t := range g.Tensors {
		n += swarm.TensorSpec{Shape: t.Shape}.Elements()
	}
	return int64(n) * int64(g.Count)
}

// tree groups the tensors of a model: first those outside of layers, then layers,
// then encoders.
func tree(c swarm.Config, h *headers) []Group {
	outer := Group{Count: 1}
	var layers, encoders []run
	add := func(runs []run, of string, at int, name string, t ReportTensor) []run {
		if n := len(runs); n == 0 || runs[n-1].last != at {
			runs = append(runs, run{of: of, first: at, last: at})
		}
		t.Name = name
		r := &runs[len(runs)-1]
		r.tensors = append(r.tensors, t)
		return runs
	}
	for _, spec := range c.CoreTensors() {
		t := h.describe(spec)
		if spec.Layer == swarm.None {
			outer.Tensors = append(outer.Tensors, t)
			continue
		}
		layers = add(layers, "backbone.layers.", spec.Layer, spec.Name[len(swarm.LayerTensor(swarm.None, spec.Layer, "")):], t)
	}
	groups := append([]Group{outer}, merge(layers)...)
	if c.Plain() {
		return groups
	}
	for e := range c.Router.NumEncoders {
		prefix := len(swarm.LayerTensor(e, 0, "")) - len("layers.0.")
		for _, spec := range c.EncoderTensors(e) {
			encoders = add(encoders, "backbone.encoders.", e, spec.Name[prefix:], h.describe(spec))
		}
	}
	return append(groups, merge(encoders)...)
}

// describe says what the files hold of a tensor.
func (h *headers) describe(spec swarm.TensorSpec) ReportTensor {
	t := ReportTensor{Name: spec.Name, Shape: spec.Shape, DType: "missing"}
	if found, ok := h.tensors[h.p.fileName(spec.Name)]; ok {
		t.DType = string(found.dtype)
	}
	return t
}

// run is a group of layers or encoders from first to last.
type run struct {
	of          string
	first, last int
	tensors     []ReportTensor
}

// merge joins neighbours whose tensors are the same.
func merge(runs []run) []Group {
	var groups []Group
	for i := 0; i < len(runs); {
		r := runs[i]
		for i++; i < len(runs) && slices.EqualFunc(r.tensors, runs[i].tensors, sameTensor); i++ {
			r.last = runs[i].last
		}
		name := fmt.Sprintf("%s%d", r.of, r.first)
		if r.last > r.first {
			name += fmt.Sprintf("-%d", r.last)
		}
		groups = append(groups, Group{Name: name, Count: r.last - r.first + 1, Tensors: r.tensors})
	}
	return groups
}

func sameTensor(a, b ReportTensor) bool {
	return a.Name == b.Name && a.DType == b.DType && slices.Equal(a.Shape, b.Shape)
}
