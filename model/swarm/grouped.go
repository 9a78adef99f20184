package swarm

import (
	"fmt"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// groups are the rows of a piece by encoder as inputs of the graph, see [dispatch].
type groups struct {
	bank   []mamba.Weights // [U]
	names  []string        // an encoder's tensors (layers.{l}.…)
	order  *Node           // [M] int32
	places *Node           // [k·T] int32
	starts *Node           // [U+1] int32
	tiles  []int
}

// apply computes f over all rows, each with the weights of its encoder: the products
// of an encoder are as long as its rows allow, whatever tokens they belong to
// (Gale et al. 2023, "MegaBlocks", §3, for a mixture of experts).
//
// rows: [k·T, n]; prefix names the layer, and uses says which of its tensors f
// needs. Returns [k·T, width].
func (g groups) apply(prefix string, uses func(name string) bool, rows *Node, width int, f func(w mamba.Weights, rows *Node) *Node) *Node {
	var names []string
	for _, name := range g.names {
		if in, ok := strings.CutPrefix(name, prefix); ok && uses(in) {
			names = append(names, in)
		}
	}
	M := g.order.Shape().Size()
	placed := Gather(rows, Reshape(g.order, M, 1)) // [M, n]
	out := Zeros(g.order.Graph(), shapes.Make(dtypes.Float32, M, width))
	for u, w := range g.bank {
		weights := make([]*Node, len(names))
		for i, name := range names {
			weights[i] = w.In(prefix)(name)
		}
		from, end := g.start(u), g.start(u+1)
		for i, q := range g.tiles {
			to := end
			if i < len(g.tiles)-1 {
				to = Add(from, MulScalar(DivScalar(Sub(end, from), q), q)) // whole tiles
			}
			out = mamba.MapRows(q, from, to, placed, weights, out, func(rows *Node, weights []*Node) *Node {
				return f(named(names, weights), rows)
			})
			from = to
		}
	}
	return Gather(out, Reshape(g.places, g.places.Shape().Size(), 1))
}

// start is the first place of encoder u's rows, a scalar.
func (g groups) start(u int) *Node { return Reshape(Slice(g.starts, AxisRange(u, u+1))) }

// named gives nodes by their names.
func named(names []string, nodes []*Node) mamba.Weights {
	return func(name string) *Node {
		for i, n := range names {
			if n == name {
				return nodes[i]
			}
		}
		panic(fmt.Sprintf("an encoder has no tensor %q", name))
	}
}

// entering and leaving say which of a layer's own tensors [mamba.Config.In] and
// [mamba.Config.Out] use.
func entering(name string) bool {
	return name == "norm.weight" || strings.HasPrefix(name, "mixer.in_proj.")
}
func leaving(name string) bool { return !entering(name) }

// grouping computes f over rows, each with the weights of its own encoder, as
// [groups.apply] says.
type grouping interface {
	apply(prefix string, uses func(name string) bool, rows *Node, width int, f func(w mamba.Weights, rows *Node) *Node) *Node
}

// encodeGrouped is encode for texts whose slots change their encoders on the
// way: the scan runs once over all tokens, since a slot hands its state on.
// x: [B, T, d]; rows are numbered by slot, text and token. Returns one [B, T, d] per
// slot.
func (c Config) encodeGrouped(core mamba.Weights, g grouping, x *Node, states []mamba.State, span mamba.Span) ([]*Node, []mamba.State) {
	B, T := x.Shape().Dimensions[0], x.Shape().Dimensions[1]
	k, d, di := c.Slots(), c.Base.DModel, c.Base.DInner()
	if span.Mask != nil {
		span.Mask = repeat(span.Mask, k)
	}
	u := repeat(x, k) // [k·B, T, d]
	next := make([]mamba.State, len(states))
	for l, state := range states {
		layer := fmt.Sprintf("layers.%d.", l)
		entered := g.apply(layer, entering, Reshape(c.Base.RMSNormalize(u), k*B*T, d), c.Base.InProjDim(), c.Base.In)
		y, z, after := c.Base.Scan(core.In(layer), Reshape(entered, k*B, T, c.Base.InProjDim()), state, span) // [k·B, T, di]
		next[l] = after
		left := g.apply(layer, leaving, Reshape(c.Base.Gate(y, z), k*B*T, di), d, c.Base.Out)
		u = Add(u, Reshape(left, k*B, T, d))
	}
	slots := make([]*Node, k)
	for s := range slots {
		slots[s] = Slice(u, AxisRange(s*B, (s+1)*B))
	}
	return slots, next
}
