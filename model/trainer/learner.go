package trainer

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/mamba-encoder-swarm/mes/internal/program"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// learnerConfig is what a phase's programs are built from.
type learnerConfig struct {
	Model     swarm.Config
	Trainable func(name string) bool // by name in a checkpoint; of a stack, all or none
	SeqLen    int                    // T
	Batch     int                    // B, texts of a program's run
	Devices   int                    // that share the batch; B is a multiple
	BFloat16  bool                   // keep values between operations in bf16
	Losses    Losses
	Optimizer AdamW
	Learn     swarm.LearnConfig
	Teach     bool              // the encoder that a batch names for a text runs, whatever its score
	owned     []bool            // [E], encoders that a domain has
	shares    []float64         // [E], of the training texts that are of its domain; needed to balance alone
	Group     Group             // of a plain model's tensors
	Decay     map[Group]float64 // as in [Phase]
	Pace      map[Group]float64 // as in [Phase]
	Common    []common          // parts that specialists have in common
}

// network returns the model as the training graph computes it.
func (c *learnerConfig) network() swarm.Config {
	net := c.Model
	net.Base.ScanForm = mamba.ScanAssociative
	if c.BFloat16 {
		net.Base.Compute = dtypes.BFloat16
	}
	return net
}

// learner holds a phase's tensors on the device and does its steps.
type learner struct {
	learnerConfig
	backend           compute.Backend
	tensors           []tensor
	trainable         []string
	optimized         []string // trainable, and the steps that encoders make in common
	frozen            []bool   // [E], encoders that do not learn any more
	gradients, update *named
	scorer            *named  // compiled when it is first needed
	state             buffers // p/name of every tensor; m/ and v/name of those that are optimized, g/name of those that learn; count
}

// newLearner compiles a phase's programs and brings its tensors to the device.
func newLearner(b compute.Backend, c learnerConfig, p Params) (*learner, error) {
	c.Optimizer = c.Optimizer.withDefaults()
	l := &learner{learnerConfig: c, backend: b, tensors: tensorsOf(c.Model), frozen: make([]bool, len(c.owned)), state: buffers{}}
	for _, t := range l.tensors {
		if c.Trainable(t.parts[0]) && t.Name != balanceBias && !c.asleep(t.Name) {
			l.trainable = append(l.trainable, t.Name)
		}
	}
	if len(l.trainable) == 0 {
		return nil, fmt.Errorf("the phase trains no tensor of the model")
	}
	l.optimized = append(slices.Clone(l.trainable), l.commonNames()...)
	var err error
	if l.gradients, err = l.compileGradients(); err != nil {
		return nil, err
	}
	if l.update, err = l.compileUpdate(); err != nil {
		return nil, err
	}
	if err := l.load(p); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *learner) close() {
	l.state.finalize()
	l.gradients.Finalize()
	l.update.Finalize()
	if l.scorer != nil {
		l.scorer.Finalize()
	}
}

// shape is that of a tensor, or of the steps that encoders make in common.
func (l *learner) shape(name string) shapes.Shape {
	if stack, ok := strings.CutPrefix(name, inCommon); ok {
		s := l.shape(stack)
		s.Dimensions[0] = len(l.Common)
		return s
	}
	i := slices.IndexFunc(l.tensors, func(t tensor) bool { return t.Name == name })
	return shapes.Make(dtypes.Float32, l.tensors[i].Shape...)
}

// prefixed returns an input for each of the names, under a prefix.
func (l *learner) prefixed(prefix string, names []string, donate bool) []program.Input {
	var in []program.Input
	for _, name := range names {
		in = append(in, program.Input{Name: prefix + name, Shape: l.shape(name), Donate: donate})
	}
	return in
}

// measureInputs are a batch and all tensors of the model.
func (l *learner) measureInputs() []program.Input {
	in := []program.Input{
		{Name: "ids", Shape: shapes.Make(dtypes.Int32, l.Batch, l.SeqLen+1), Donate: true, Split: true},
		{Name: "encoder", Shape: shapes.Make(dtypes.Int32, l.Batch), Donate: true, Split: true},
		{Name: "runs", Shape: shapes.Make(dtypes.Int32, l.Batch), Donate: true, Split: true},
		{Name: "weight", Shape: shapes.Make(dtypes.Float32, l.Batch), Donate: true, Split: true},
	}
	for _, t := range l.tensors {
		in = append(in, program.Input{Name: "p/" + t.Name, Shape: l.shape(t.Name)})
	}
	return in
}

// measureFrom is measure over measureInputs.
func (c *learnerConfig) measureFrom(in func(name string) *Node) measured {
	return c.measure(func(name string) *Node {
		if n := in("p/" + name); n != nil {
			return n
		}
		panic(fmt.Errorf("the model has no tensor %q", name))
	}, batchNodes{in("ids"), in("encoder"), in("runs"), in("weight")})
}

// compileGradients adds a batch's gradients to g/.
func (l *learner) compileGradients() (*named, error) {
	in := append(l.measureInputs(), l.prefixed("g/", l.trainable, true)...)
	return l.compile("gradients", in, func(in func(name string) *Node, out *outputs) {
		m := l.measureFrom(in)
		by := make([]*Node, len(l.trainable))
		for i, name := range l.trainable {
			by[i] = in("p/" + name)
		}
		for i, grad := range Gradient(m.loss, by...) {
			out.add("g/"+l.trainable[i], Add(in("g/"+l.trainable[i]), grad))
		}
		out.add("stats", m.stats)
		out.add("rows", m.rows)
		if m.load != nil {
			out.add("load", m.load)
		}
	})
}

// load brings a model's tensors to the device, with an optimizer that has seen nothing.
func (l *learner) load(p Params) error {
	for _, t := range l.tensors {
		flat := make([]float32, 0, t.Elements())
		for _, name := range t.parts {
			part, ok := p[name]
			if !ok {
				return fmt.Errorf("the model has no tensor %s", name)
			}
			flat = append(flat, part.Values...)
		}
		if len(flat) != t.Elements() {
			return fmt.Errorf("tensor %s: %d values, expected %v", t.Name, len(flat), t.Shape)
		}
		if err := l.upload("p/"+t.Name, flat, l.shape(t.Name), false); err != nil {
			return err
		}
	}
	zero := func(prefix string, names []string) error {
		for _, name := range names {
			if err := l.upload(prefix+name, make([]float32, l.shape(name).Size()), l.shape(name), false); err != nil {
				return err
			}
		}
		return nil
	}
	if err := errors.Join(zero("m/", l.optimized), zero("v/", l.optimized), zero("g/", l.trainable)); err != nil {
		return err
	}
	return l.upload("count", []float32{0}, shapes.Make(dtypes.Float32), false)
}

// rowsOfBatch is a batch on the host.
type rowsOfBatch struct {
	ids     []int32   // [B, T+1]
	domain  []string  // [B]
	encoder []int32   // [B], that of the domain, -1 for none
	runs    []int32   // [B], that which runs where the phase teaches, -1 for the router's choice
	weight  []float32 // [B], of its cross-entropy
}

// result is what a step gave.
type result struct {
	stats [numStats]float64 // means over the batches; counts are sums
	rows  []float64         // cross-entropy of each text, batch after batch
	load  []float64         // [E] chunks
	norm  float64
}

// step learns from some batches, of which each is one run of the gradients' program.
func (l *learner) step(batches []rowsOfBatch, lr float64) (result, error) {
	var outs []buffers
	for _, batch := range batches {
		if err := l.put(batch); err != nil {
			return result{}, err
		}
		out, err := l.gradients.run(l.Devices, l.state)
		if err != nil {
			return result{}, err
		}
		for _, name := range l.trainable {
			l.state["g/"+name] = out["g/"+name]
			delete(out, "g/"+name)
		}
		outs = append(outs, out)
	}
	scalar := shapes.Make(dtypes.Float32)
	if err := l.upload("lr", []float32{float32(lr)}, scalar, false); err != nil {
		return result{}, err
	}
	if err := l.upload("mean", []float32{1 / float32(len(batches))}, scalar, false); err != nil {
		return result{}, err
	}
	if err := l.upload("awake", l.awake(), shapes.Make(dtypes.Float32, len(l.owned)), false); err != nil {
		return result{}, err
	}
	out, err := l.update.run(l.Devices, l.state)
	if err != nil {
		return result{}, err
	}
	norm := buffers{"norm": out["norm"]}
	delete(out, "norm")
	maps.Copy(l.state, out)
	return l.result(outs, norm)
}

// result reads what the programs gave, and frees it.
func (l *learner) result(batches []buffers, update buffers) (r result, err error) {
	defer update.finalize()
	for _, out := range batches {
		defer out.finalize()
		stats, err := read[float32](out["stats"], numStats)
		if err != nil {
			return r, err
		}
		for i, v := range stats {
			if i < statDropped {
				v /= float32(len(batches))
			}
			r.stats[i] += float64(v)
		}
		rows, err := read[float32](out["rows"], l.Batch)
		if err != nil {
			return r, err
		}
		for _, v := range rows {
			r.rows = append(r.rows, float64(v))
		}
		if out["load"] == nil {
			continue
		}
		load, err := read[float32](out["load"], l.Model.Router.NumEncoders)
		if err != nil {
			return r, err
		}
		if r.load == nil {
			r.load = make([]float64, len(load))
		}
		for e, v := range load {
			r.load[e] += float64(v)
		}
	}
	norm, err := read[float32](update["norm"], 1)
	if err != nil {
		return r, err
	}
	r.norm = float64(norm[0])
	return r, nil
}

// finite reports whether the step changed the weights.
func (r result) finite() bool { return !math.IsNaN(r.norm) && !math.IsInf(r.norm, 0) }

// balanceBias is the router's bias: no gradient reaches it.
const balanceBias = "backbone.router.bias"

// routerRows is the tensor with the router's row of each encoder.
const routerRows = "backbone.router.proj.weight"

// params reads the model's tensors from the device.
func (l *learner) params() (Params, error) {
	p := Params{}
	for _, t := range l.tensors {
		flat, err := read[float32](l.state["p/"+t.Name], t.Elements())
		if err != nil {
			return nil, err
		}
		size := len(flat) / len(t.parts)
		for i, name := range t.parts {
			p[name] = Param{t.partShape(), flat[i*size:][:size:size]}
		}
	}
	return p, nil
}
