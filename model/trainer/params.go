package trainer

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/gomlx/compute/dtypes"

	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Params are a model's tensors on the host, f32, by their names in a checkpoint. It
// is a [swarm.Source].
type Params map[string]Param

// Param is one tensor.
type Param struct {
	Shape  []int
	Values []float32
}

// Init draws a model's tensors, see [swarm.Config.Init].
func Init(c swarm.Config, seed uint64) Params {
	p, rng := Params{}, rand.New(rand.NewPCG(seed, 0))
	for _, spec := range c.Tensors() {
		p[spec.Name] = Param{spec.Shape, c.Init(spec, rng)}
	}
	return p
}

// Read takes a model's tensors from a checkpoint. The error names all that are
// missing or do not fit.
func Read(ctx context.Context, c swarm.Config, src swarm.Source) (Params, error) {
	if err := c.Check(src, true); err != nil {
		return nil, err
	}
	p := Params{}
	for _, spec := range c.Tensors() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		values, err := swarm.ReadFloats(src, spec.Name)
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			if v-v != 0 {
				return nil, fmt.Errorf("tensor %s: element %d is %v; the weights are damaged", spec.Name, i, v)
			}
		}
		p[spec.Name] = Param{spec.Shape, values}
	}
	return p, nil
}

// Checkpoint returns the tensors of the model in a run's checkpoint, without the memory of
// the optimizer: those of the plain base before the swarm was made.
func Checkpoint(s ckpt.Snapshot) Params {
	p := Params{}
	for _, t := range s.Tensors {
		if !strings.HasPrefix(t.Name, moments) && !strings.HasPrefix(t.Name, lowest) {
			p[t.Name] = Param{t.Shape, floats(t.Data)}
		}
	}
	return p
}

// Info, Read and Release make Params a checkpoint.
func (p Params) Info(name string) (dtypes.DType, []int, error) {
	t, ok := p[name]
	if !ok {
		return 0, nil, fmt.Errorf("%w: %s", swarm.ErrNoTensor, name)
	}
	return dtypes.Float32, t.Shape, nil
}

// Read is part of [swarm.Source].
func (p Params) Read(name string, dst []byte) error {
	t, ok := p[name]
	if !ok {
		return fmt.Errorf("%w: %s", swarm.ErrNoTensor, name)
	}
	for i, v := range t.Values {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
	return nil
}

// Release is part of [swarm.Source].
func (p Params) Release([]string) {}

// Grow makes a swarm of a plain model: every encoder has the plain model's first
// layers plus noise, N(0, noise·rms of the tensor); router and aggregator are drawn.
func (p Params) Grow(c swarm.Config, noise float64, seed uint64) Params {
	out, rng := Params{}, rand.New(rand.NewPCG(seed, 1))
	for _, spec := range c.Tensors() {
		from, ok := p[spec.Plain]
		switch {
		case !ok:
			out[spec.Name] = Param{spec.Shape, c.Init(spec, rng)}
		case spec.Encoder <= 0:
			out[spec.Name] = from
		default:
			out[spec.Name] = Param{spec.Shape, swarm.Disturb(from.Values, noise, rng)}
		}
	}
	return out
}

// Encoder is the plain model that encoder e makes with the core; the tensors are
// shared with p.
func (p Params) Encoder(c swarm.Config, e int) Params {
	out := Params{}
	for _, spec := range append(c.CoreTensors(), c.EncoderTensors(e)...) {
		if spec.Plain != "" {
			out[spec.Plain] = p[spec.Name]
		}
	}
	return out
}

// SetEncoder puts the tensors of a plain model in the place of encoder e's.
func (p Params) SetEncoder(c swarm.Config, e int, plain Params) {
	for _, spec := range c.EncoderTensors(e) {
		p[spec.Name] = plain[spec.Plain]
	}
}

// tensor is one that a training graph holds.
type tensor struct {
	mamba.TensorSpec
	parts []string // its name in a checkpoint; of a stack [E, …] those of the encoders' tensors
}

// tensorsOf lists a model's tensors as a training graph holds them: those that encoders
// own as one stack for each layer.
func tensorsOf(c swarm.Config) []tensor {
	var all []tensor
	for _, spec := range c.CoreTensors() {
		all = append(all, tensor{mamba.TensorSpec{Name: spec.Stack, Shape: spec.Shape}, []string{spec.Name}})
	}
	if c.Plain() {
		return all
	}
	first := len(all)
	for e := range c.Router.NumEncoders {
		for i, spec := range c.EncoderTensors(e) {
			if e == 0 {
				shape := append([]int{c.Router.NumEncoders}, spec.Shape...)
				all = append(all, tensor{mamba.TensorSpec{Name: spec.Stack, Shape: shape}, nil})
			}
			all[first+i].parts = append(all[first+i].parts, spec.Name)
		}
	}
	return all
}

// partShape is the shape of each part.
func (t tensor) partShape() []int {
	if len(t.parts) == 1 && t.parts[0] == t.Name {
		return t.Shape
	}
	return t.Shape[1:]
}
