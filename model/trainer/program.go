package trainer

import (
	"errors"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/mamba-encoder-swarm/mes/internal/program"
)

// ErrDevice says that a device did not do what it was asked for: it is gone, out of
// memory, or broken.
var ErrDevice = errors.New("the device failed")

// named is a program whose outputs have names too.
type named struct {
	*program.Program
	outputs []string
}

// outputs collects a graph's results by name.
type outputs struct {
	names []string
	nodes []*graph.Node
}

func (o *outputs) add(name string, n *graph.Node) {
	o.names, o.nodes = append(o.names, name), append(o.nodes, n)
}

// compile builds a graph for the learner's devices and compiles it.
func (l *learner) compile(name string, inputs []program.Input, build func(in func(name string) *graph.Node, out *outputs)) (*named, error) {
	out := &outputs{}
	p, err := program.Compile(l.backend, name, l.Devices, func(g *program.Graph) []*graph.Node {
		for _, in := range inputs {
			g.Input(in)
		}
		build(g.Get, out)
		return out.nodes
	})
	if err != nil {
		return nil, err
	}
	return &named{p, out.names}, nil
}

// buffers are tensors on the devices by name: one buffer for each device.
type buffers map[string][]compute.Buffer

// finalize frees all buffers; what a failed back end says about it is not news.
func (b buffers) finalize() {
	for name := range b {
		b.drop(name)
	}
}

// drop frees one tensor.
func (b buffers) drop(name string) {
	for _, buffer := range b[name] {
		_ = buffer.Finalize()
	}
	delete(b, name)
}

// run executes the program on inputs found by name. Those that are donated are removed
// from the map.
func (p *named) run(devices int, from buffers) (buffers, error) {
	args := make([]compute.Buffer, devices*len(p.Inputs))
	for i, in := range p.Inputs {
		if len(from[in.Name]) != devices {
			return nil, fmt.Errorf("run %s: input %q is on %d devices of %d", p.Name, in.Name, len(from[in.Name]), devices)
		}
		for d, buffer := range from[in.Name] {
			args[d*len(p.Inputs)+i] = buffer
		}
	}
	for _, in := range p.Inputs {
		if in.Donate {
			delete(from, in.Name)
		}
	}
	results, err := p.Run(args)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDevice, err)
	}
	out := buffers{}
	for i, buffer := range results {
		name := p.outputs[i%len(p.outputs)]
		out[name] = append(out[name], buffer)
	}
	return out, nil
}

// upload brings values to the devices, all to each or to each its part of the first
// axis.
func (l *learner) upload(name string, values any, shape shapes.Shape, split bool) error {
	parts, err := scatter(l.backend, values, shape, l.Devices, split)
	if err != nil {
		return fmt.Errorf("%w: upload %s: %w", ErrDevice, name, err)
	}
	l.state.drop(name) // what it held is replaced
	l.state[name] = parts
	return nil
}

// scatter makes the buffers of a value, one for each device.
func scatter(b compute.Backend, values any, shape shapes.Shape, devices int, split bool) (parts []compute.Buffer, err error) {
	part := shape
	if split {
		part = shape.Clone()
		part.Dimensions[0] /= devices
	}
	for d := range devices {
		from := 0
		if split {
			from = d * part.Size()
		}
		buffer, err := b.BufferFromFlatData(compute.DeviceNum(d), window(values, from, part.Size()), part)
		if err != nil {
			buffers{"": parts}.finalize()
			return nil, err
		}
		parts = append(parts, buffer)
	}
	return parts, nil
}

// window is a part of a slice of f32 or int32.
func window(values any, from, size int) any {
	switch v := values.(type) {
	case []float32:
		return v[from:][:size]
	case []int32:
		return v[from:][:size]
	}
	panic(fmt.Sprintf("upload of a %T", values))
}

// read copies a tensor of n values, which each device holds whole, to the host.
func read[T float32 | int32](parts []compute.Buffer, n int) ([]T, error) {
	values := make([]T, n)
	if err := parts[0].ToFlatData(values); err != nil {
		return nil, fmt.Errorf("%w: read: %w", ErrDevice, err)
	}
	return values, nil
}
