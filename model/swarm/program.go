package swarm

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/support/exceptions"
)

// program is a compiled graph whose inputs have names.
type program struct {
	exec   compute.Executable
	inputs []ref
}

// ref is an input's name, taken apart once: a tensor of one of the encoders that run
// ("bank.2.layers.0.norm.weight"), a state ("state.7"), or any other name.
type ref struct {
	name  string // within the bank for an encoder's tensor
	bank  int    // -1 for none
	state int    // -1 for none
}

func parseRef(name string) ref {
	r := ref{name: name, bank: -1, state: -1}
	var i int
	if _, err := fmt.Sscanf(name, "state.%d", &i); err == nil {
		r.state = i
	} else if _, err := fmt.Sscanf(name, "bank.%d.", &i); err == nil {
		r.bank, r.name = i, name[len(bankPrefix(i)):]
	}
	return r
}

// inputs hands out a graph's parameters by name while the graph is built.
type inputs struct {
	g     *graph.Graph
	nodes map[string]*graph.Node
	names []string
	shape func(name string) (shapes.Shape, bool)
}

// get returns the parameter with this name, made on first use; it panics if no
// tensor has the name.
func (in *inputs) get(name string) *graph.Node {
	if n, ok := in.nodes[name]; ok {
		return n
	}
	shape, ok := in.shape(name)
	if !ok {
		exceptions.Panicf("the model has no tensor %q", name)
	}
	return in.add(name, shape)
}

// add makes a parameter that is no weight.
func (in *inputs) add(name string, shape shapes.Shape) *graph.Node {
	n := graph.Parameter(in.g, name, shape)
	in.nodes[name] = n
	in.names = append(in.names, name)
	return n
}

// compile builds a graph and compiles it. shape knows the tensors that the graph
// may ask for by name.
func compile(b compute.Backend, name string, shape func(string) (shapes.Shape, bool), build func(*inputs) []*graph.Node) (*program, error) {
	var p *program
	var compileErr error
	err := exceptions.TryCatch[error](func() {
		g := graph.NewGraph(b, name)
		in := &inputs{g: g, nodes: map[string]*graph.Node{}, shape: shape}
		outputs := build(in)
		compileErr = g.Compile(outputs...)
		p = &program{exec: g.Executable()}
		for _, name := range in.names {
			p.inputs = append(p.inputs, parseRef(name))
		}
	})
	if err == nil {
		err = compileErr
	}
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", name, err)
	}
	return p, nil
}

// run executes the program on the buffers that lookup finds.
func (p *program) run(lookup func(ref) compute.Buffer) ([]compute.Buffer, error) {
	args := make([]compute.Buffer, len(p.inputs))
	for i, r := range p.inputs {
		if args[i] = lookup(r); args[i] == nil {
			return nil, fmt.Errorf("run: no value for input %q", r.name)
		}
	}
	var out []compute.Buffer
	var execErr error
	if err := exceptions.TryCatch[error](func() { out, execErr = p.exec.Execute(args, nil, 0) }); err != nil {
		return nil, err
	}
	return out, execErr
}

// finalize frees buffers, ignoring those that are nil.
func finalize(buffers ...compute.Buffer) {
	for _, b := range buffers {
		if b != nil {
			_ = b.Finalize() // the only error is a back end that is already closed
		}
	}
}
