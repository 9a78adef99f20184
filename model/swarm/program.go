package swarm

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/support/exceptions"

	"github.com/mamba-encoder-swarm/mes/internal/program"
)

// compiled is a program with the names of its inputs taken apart.
type compiled struct {
	*program.Program
	refs []ref
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
	g     *program.Graph
	shape func(name string) (shapes.Shape, bool)
	given map[string]*graph.Node // within a loop, whose body may read nothing else; nil outside
}

// get returns the parameter with this name, made on first use; it panics if no
// tensor has the name.
func (in *inputs) get(name string) *graph.Node {
	if in.given != nil {
		return in.within(name)
	}
	if n := in.g.Get(name); n != nil {
		return n
	}
	shape, ok := in.shape(name)
	if !ok {
		exceptions.Panicf("the model has no tensor %q", name)
	}
	return in.add(name, shape)
}

// within returns what a loop hands to its body under this name.
func (in *inputs) within(name string) *graph.Node {
	n, ok := in.given[name]
	if !ok {
		exceptions.Panicf("the body of a loop reads %q, which the loop does not hand to it", name)
	}
	return n
}

// add makes a parameter that is no weight.
func (in *inputs) add(name string, shape shapes.Shape) *graph.Node {
	return in.g.Input(program.Input{Name: name, Shape: shape})
}

// compile builds a graph and compiles it. shape knows the tensors that the graph
// may ask for by name.
func compile(b compute.Backend, name string, shape func(string) (shapes.Shape, bool), build func(*inputs) []*graph.Node) (*compiled, error) {
	p, err := program.Compile(b, name, 1, func(g *program.Graph) []*graph.Node { return build(&inputs{g: g, shape: shape}) })
	if err != nil {
		return nil, err
	}
	c := &compiled{Program: p}
	for _, in := range p.Inputs {
		c.refs = append(c.refs, parseRef(in.Name))
	}
	return c, nil
}

// run executes the program on the buffers that lookup finds.
func (c *compiled) run(lookup func(ref) compute.Buffer) ([]compute.Buffer, error) {
	args := make([]compute.Buffer, len(c.refs))
	for i, r := range c.refs {
		if args[i] = lookup(r); args[i] == nil {
			return nil, fmt.Errorf("run: no value for input %q", r.name)
		}
	}
	return c.Run(args)
}

// finalize frees buffers, ignoring those that are nil.
func finalize(buffers ...compute.Buffer) {
	for _, b := range buffers {
		if b != nil {
			_ = b.Finalize() // the only error is a back end that is already closed
		}
	}
}
