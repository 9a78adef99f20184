package trainer

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/support/exceptions"
)

// input is a named input of a program; one that is donated is gone after a run.
type input struct {
	name   string
	shape  shapes.Shape
	donate bool
}

// program is a compiled graph with named inputs and outputs.
type program struct {
	name    string
	exec    compute.Executable
	inputs  []string
	donate  []bool
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

// compile builds a graph and compiles it.
func compile(b compute.Backend, name string, inputs []input, build func(in map[string]*graph.Node, out *outputs)) (*program, error) {
	p := &program{name: name}
	var compileErr error
	err := exceptions.TryCatch[error](func() {
		g := graph.NewGraph(b, name)
		nodes := map[string]*graph.Node{}
		for _, in := range inputs {
			nodes[in.name] = graph.Parameter(g, in.name, in.shape)
			p.inputs, p.donate = append(p.inputs, in.name), append(p.donate, in.donate)
		}
		out := &outputs{}
		build(nodes, out)
		p.outputs = out.names
		compileErr = g.Compile(out.nodes...)
		p.exec = g.Executable()
	})
	if err == nil {
		err = compileErr
	}
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", name, err)
	}
	return p, nil
}

// buffers are tensors on the device by name.
type buffers map[string]compute.Buffer

// finalize frees all buffers; what a failed back end says about it is not news.
func (b buffers) finalize() {
	for name, buffer := range b {
		if buffer != nil {
			_ = buffer.Finalize()
		}
		delete(b, name)
	}
}

// run executes the program on inputs found in the given maps, first map first. Those
// that are donated are removed from their map.
func (p *program) run(from ...buffers) (buffers, error) {
	args := make([]compute.Buffer, len(p.inputs))
	for i, name := range p.inputs {
		for _, b := range from {
			if buffer, ok := b[name]; ok && args[i] == nil {
				args[i] = buffer
				if p.donate[i] {
					delete(b, name)
				}
			}
		}
		if args[i] == nil {
			return nil, fmt.Errorf("run %s: no value for input %q", p.name, name)
		}
	}
	var results []compute.Buffer
	var execErr error
	if err := exceptions.TryCatch[error](func() { results, execErr = p.exec.Execute(args, p.donate, 0) }); err != nil {
		return nil, fmt.Errorf("run %s: %w", p.name, err)
	}
	if execErr != nil {
		return nil, fmt.Errorf("run %s: %w", p.name, execErr)
	}
	out := buffers{}
	for i, name := range p.outputs {
		out[name] = results[i]
	}
	return out, nil
}

// read copies a buffer of n values to the host.
func read[T float32 | int32](buffer compute.Buffer, n int) ([]T, error) {
	values := make([]T, n)
	if err := buffer.ToFlatData(values); err != nil {
		return nil, fmt.Errorf("read from the device: %w", err)
	}
	return values, nil
}
