//go:build cgo && !noxla

package backend

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/stablehlo"
	xlashapes "github.com/gomlx/go-xla/types/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/support/exceptions"
	"github.com/mamba-encoder-swarm/mes/internal/kernel"
)

// withKernels holds the plugins, by path, that know our kernels. A plugin is
// loaded once for the process and never forgets a kernel, so neither does this.
var withKernels sync.Map

// addKernels makes the kernels known to the loaded CPU plugin at path and
// proves a call's way through go-xla. It gives what Info.Kernels says.
func addKernels(b compute.Backend, path string) string {
	set, err := kernel.Register(path)
	if err == nil {
		err = try(b)
	}
	if err != nil {
		return fmt.Sprintf("none (%v)", err)
	}
	withKernels.Store(path, true)
	return set
}

// try multiplies 2 by 3 in a kernel.
func try(b compute.Backend) error {
	var got float32
	err := exceptions.TryCatch[error](func() {
		exec := graph.MustNewExec(b, func(x, w, scale *graph.Node) *graph.Node {
			return Call(kernel.Product, []shapes.Shape{shapes.Make(dtypes.Float32, 1, 1)}, x, w, scale)[0]
		})
		defer exec.Finalize()
		got = exec.MustCall([][]float32{{2}}, [][]int8{{3}}, [][]float32{{1}})[0].Value().([][]float32)[0][0]
	})
	if err == nil && (got < 5.999 || got > 6.001) {
		err = fmt.Errorf("a kernel gave %v for 2 times 3", got)
	}
	return err
}

// HasKernels reports whether Call works for graphs of b.
func HasKernels(b compute.Backend) bool {
	x, ok := b.(*xla.Backend)
	if !ok {
		return false
	}
	_, ok = withKernels.Load(x.PluginName())
	return ok
}

// Call adds a call of the kernel named target to the graph of inputs, of which
// there is at least one; it gives nodes of the shapes in outputs. It has no
// gradient, and panics, as graph code does, where HasKernels is false.
//
// GoMLX has no operation for this. So the graph calls a function that stands in
// for the kernel, and in the program that go-xla builds, this one statement
// becomes a custom call.
func Call(target string, outputs []shapes.Shape, inputs ...*graph.Node) []*graph.Node {
	g := inputs[0].Graph()
	name := fmt.Sprintf("%s.%d", target, g.LastNode().Id())
	stand := graph.NewFunction(g, name, func(g *graph.Graph) []*graph.Node {
		for i, in := range inputs {
			graph.Parameter(g, fmt.Sprintf("%s.%d", name, i), in.Shape())
		}
		results := make([]*graph.Node, len(outputs))
		for i, shape := range outputs {
			results[i] = graph.Iota(g, shape, 0)
		}
		return results
	})
	results := stand.Call(inputs...)
	if err := toCustomCall(graph.InternalBackendOutputs(results[0])[0], target); err != nil {
		panic(fmt.Errorf("call kernel %s: %w", target, err))
	}
	return results
}

// typedCall is the version of XLA's custom calls that its CPU back end supports;
// go-xla writes an older one.
const typedCall = int32(4)

// toCustomCall turns the statement that gives v into a call of target.
func toCustomCall(v compute.Value, target string) error {
	value, err := pointer[stablehlo.Value](v, "value")
	if err != nil {
		return err
	}
	call, err := pointer[stablehlo.Statement](value, "stmt")
	if err != nil {
		return err
	}
	pattern, err := customCall(call, target)
	if err != nil {
		return err
	}
	call.OpType, call.Attributes = pattern.OpType, pattern.Attributes
	call.Attributes["api_version"] = typedCall
	return nil
}

// customCall has go-xla write, in a program of its own, a custom call with the
// operands and results of like. All are row-major.
func customCall(like *stablehlo.Statement, target string) (*stablehlo.Statement, error) {
	fn := stablehlo.New("pattern").Main()
	operands := make([]*stablehlo.Value, len(like.Inputs))
	for i, in := range like.Inputs {
		var err error
		if operands[i], err = fn.NamedInput(fmt.Sprintf("in%d", i), in.Shape()); err != nil {
			return nil, err
		}
	}
	results := make([]xlashapes.Shape, len(like.Outputs))
	for i, out := range like.Outputs {
		results[i] = out.Shape()
	}
	if _, err := stablehlo.CustomCallV2(target, "", operands, make([][]int, len(operands)), results, make([][]int, len(results))); err != nil {
		return nil, err
	}
	return fn.Statements[len(fn.Statements)-1], nil
}

// pointer reads the field of type *T of the struct that holder points to. The
// field is go-xla's own, hence the check.
func pointer[T any](holder any, field string) (*T, error) {
	v := reflect.Indirect(reflect.ValueOf(holder))
	if v.Kind() == reflect.Struct {
		if f := v.FieldByName(field); f.IsValid() && f.Type() == reflect.TypeFor[*T]() && !f.IsNil() {
			return (*T)(f.UnsafePointer()), nil
		}
	}
	return nil, fmt.Errorf("%T has no field %s of type %s: the pinned version of go-xla has it", holder, field, reflect.TypeFor[*T]())
}
