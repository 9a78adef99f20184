// Package program compiles graphs whose inputs have names, for one device or for
// several that share a batch out.
//
// Over several devices a graph is built as for one, over the whole batch: the back end
// (XLA's Shardy, through GoMLX's AutoSharding) finds out from the inputs what each
// device computes and where they exchange sums, so that a mean over the batch stays
// one over the whole of it.
package program

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/support/exceptions"
)

// Input is an input of a program.
type Input struct {
	Name   string
	Shape  shapes.Shape // of the whole, also where devices hold parts
	Donate bool         // gone after a run
	Split  bool         // each device holds its part of the first axis; else each holds all
}

// Graph is a graph that is being built.
type Graph struct {
	*graph.Graph
	mesh   *distributed.DeviceMesh // nil for one device
	nodes  map[string]*graph.Node
	inputs []Input
}

// axis is the name of the mesh's only axis.
const axis = "data"

// Input adds an input. It panics if there is one of that name.
func (g *Graph) Input(in Input) *graph.Node {
	var sharding *distributed.ShardingSpec
	if g.mesh != nil {
		sharding = distributed.NewReplicatedShardingSpec(g.mesh)
		sharding.Axes = make([]distributed.AxisSpec, in.Shape.Rank())
		if in.Split {
			sharding.Axes[0] = distributed.AxisSpec{axis}
		}
	}
	n := graph.ShardedParameter(g.Graph, in.Name, in.Shape, sharding)
	g.nodes[in.Name] = n
	g.inputs = append(g.inputs, in)
	return n
}

// Get returns the input of a name, nil if there is none yet.
func (g *Graph) Get(name string) *graph.Node { return g.nodes[name] }

// Names lists the inputs so far, in the order in which they were added.
func (g *Graph) Names() []string {
	names := make([]string, len(g.inputs))
	for i, in := range g.inputs {
		names[i] = in.Name
	}
	return names
}

// Program is a compiled graph. It may be run from several goroutines.
type Program struct {
	Name   string
	Inputs []Input // in the order of Run's arguments

	exec   compute.Executable
	donate []bool // of all devices
}

// Compile builds a graph and compiles it for the first so many devices. build returns
// the outputs, of which each device will hold the whole.
func Compile(b compute.Backend, name string, devices int, build func(g *Graph) []*graph.Node) (*Program, error) {
	p := &Program{Name: name}
	var compileErr error
	err := exceptions.TryCatch[error](func() {
		g := &Graph{Graph: graph.NewGraph(b, name), nodes: map[string]*graph.Node{}}
		if compileErr = g.spread(devices); compileErr != nil {
			return
		}
		outputs := build(g)
		var shardings []*distributed.ShardingSpec
		if g.mesh != nil {
			for _, n := range outputs {
				whole := distributed.NewReplicatedShardingSpec(g.mesh)
				whole.Axes = make([]distributed.AxisSpec, n.Rank())
				shardings = append(shardings, whole)
			}
		}
		compileErr = g.CompileWithSharding(outputs, shardings)
		p.exec, p.Inputs = g.Executable(), g.inputs
	})
	if err == nil {
		err = compileErr
	}
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", name, err)
	}
	for range devices {
		for _, in := range p.Inputs {
			p.donate = append(p.donate, in.Donate)
		}
	}
	return p, nil
}

// spread says that several devices run the graph.
func (g *Graph) spread(devices int) (err error) {
	if devices == 1 {
		return nil
	}
	if g.mesh, err = distributed.NewDeviceMesh([]int{devices}, []string{axis}); err != nil {
		return err
	}
	return g.SetAutoSharding(g.mesh)
}

// Run executes the program. args are the first device's inputs, then the second's, and
// so on; the outputs come in the same order.
func (p *Program) Run(args []compute.Buffer) ([]compute.Buffer, error) {
	var out []compute.Buffer
	var execErr error
	err := exceptions.TryCatch[error](func() { out, execErr = p.exec.Execute(args, p.donate, 0) })
	if err == nil {
		err = execErr
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", p.Name, err)
	}
	return out, nil
}

// Finalize frees the program.
func (p *Program) Finalize() { p.exec.Finalize() }
