package swarm

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// judge returns of each row of logits [n, V] the loss of its target [n] in nats, and 1
// where nothing is likelier than it, else 0: [n, 2].
func judge(logits, targets *Node) *Node {
	loss, behind := mamba.CrossEntropy(logits, targets)
	best := ConvertDType(GreaterOrEqual(behind, ZerosLike(behind)), dtypes.Float32)
	return Stack([]*Node{loss, best}, 1)
}

// batch builds a window of T tokens of several texts, with room for this many
// encoders. Outputs: likelihoods [lanes·T, 2] and the states.
func (b *graphBuilder) batch(banks int) []*Node {
	c, lanes := b.m.cfg, b.m.batch.lanes
	ids := b.in.add(inputIDs, shapes.Make(dtypes.Int32, lanes, b.T))
	targets := b.in.add(inputTargets, shapes.Make(dtypes.Int32, lanes*b.T))
	keep := b.in.add(inputKeep, shapes.Make(dtypes.Float32, lanes))
	states := b.batchStates(keep)
	x := c.Base.Embed(b.core, ids)
	next := states[:c.NumEncoderLayers]
	if !c.Plain() {
		k, g := c.Slots(), b.tiles(banks)
		routing := Routing{
			Gates:   b.in.add(inputGates, shapes.Make(dtypes.Float32, lanes, b.T, k)),
			Quality: b.in.add(inputQuality, shapes.Make(dtypes.Float32, lanes, b.T, k)),
		}
		var slots []*Node
		slots, next = c.encodeGrouped(b.core, g, x, next, mamba.Span{})
		x, _ = c.aggregate(b.core, x, slots, routing)
	}
	x, decoder := c.Decode(b.core, x, states[c.NumEncoderLayers:], mamba.Span{})
	logits := c.Base.Head(b.core, b.m.head(b.in), Reshape(x, lanes*b.T, c.Base.DModel))
	out := []*Node{judge(logits, targets)}
	return append(out, stateNodes(append(slices.Clone(next), decoder...))...)
}

// batchStates adds all layers' states, zero for the lanes that keep [lanes] marks
// with 0.
func (b *graphBuilder) batchStates(keep *Node) []mamba.State {
	all := b.m.batchStateShapes()
	states := make([]mamba.State, b.m.cfg.Base.NLayer)
	for l := range states {
		s := mamba.State{Conv: b.in.add(stateName(2*l), all[2*l]), SSM: b.in.add(stateName(2*l+1), all[2*l+1])}
		rows := keep
		if l < b.m.cfg.NumEncoderLayers {
			rows = repeat(keep, b.m.cfg.Slots())
		}
		states[l] = restart(s, rows, 1)
	}
	return states
}

// tiles are the rows of a window by encoder, in tiles of which each has one encoder:
// the products of all tiles are one. There is no loop, which would cost a GPU more
// than gathering the weights does.
type tiles struct {
	bank    []mamba.Weights // [U]
	size    int             // rows of a tile
	order   *Node           // [M] int32, see [dispatch]
	places  *Node           // [rows] int32
	encoder *Node           // [M/size] int32, the bank of each tile
}

// tiles adds the inputs of a window's rows.
func (b *graphBuilder) tiles(banks int) tiles {
	size, M := b.m.batch.tile(b.T), b.m.batch.places(b.m.cfg.Slots(), b.T, banks)
	t := tiles{
		size: size, bank: make([]mamba.Weights, banks),
		order:   b.in.add(inputOrder, shapes.Make(dtypes.Int32, M)),
		places:  b.in.add(inputPlaces, shapes.Make(dtypes.Int32, b.m.cfg.Slots()*b.m.batch.lanes*b.T)),
		encoder: b.in.add(inputTiles, shapes.Make(dtypes.Int32, M/size)),
	}
	for u := range t.bank {
		t.bank[u] = mamba.Weights(b.in.get).In(bankPrefix(u))
	}
	return t
}

// apply implements grouping: what f asks for is gathered.
func (t tiles) apply(prefix string, _ func(name string) bool, rows *Node, width int, f func(w mamba.Weights, rows *Node) *Node) *Node {
	M, n := t.order.Shape().Size(), rows.Shape().Dimensions[1]
	placed := Reshape(Gather(rows, Reshape(t.order, M, 1)), M/t.size, t.size, n)
	weights := func(name string) *Node {
		all := make([]*Node, len(t.bank))
		for u, w := range t.bank {
			all[u] = widened(w.In(prefix), name)
		}
		return Gather(Stack(all, 0), Reshape(t.encoder, M/t.size, 1))
	}
	out := Reshape(f(weights, placed), M, width)
	return Gather(out, Reshape(t.places, t.places.Shape().Size(), 1))
}

// widened is an encoder's tensor in f32, its scales multiplied in: a product of
// stacked matrices takes no scales.
func widened(w mamba.Weights, name string) *Node {
	x := w(name)
	if x.DType() == dtypes.Int8 {
		return Mul(ConvertDType(x, dtypes.Float32), w(scaleName(name)))
	}
	return ConvertDType(x, dtypes.Float32)
}
