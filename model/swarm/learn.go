package swarm

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// LearnConfig says how a training graph shares its rows out to the encoders.
type LearnConfig struct {
	// Capacity is how many times the mean load of an encoder has room; chunks beyond it
	// are dropped: their encoder adds nothing. At least 1.
	Capacity float64
	// PinFirst says that encoder 0 runs in slot 0 throughout, by the balance bias of a
	// generalist that is always chosen: its rows need no dispatch.
	PinFirst bool
}

// Learned is what a training graph computes of a batch.
type Learned struct {
	Hidden    *Node            // [B, T, d], before the final norm
	Outputs   []*Node          // k × [B, T, d], the encoders' outputs by slot; nil for a plain model
	Alpha     *Node            // [B, T, k], the aggregator's weights; nil for a plain model or one slot
	Decisions router.Decisions // zero for a plain model
	Dropped   *Node            // chunks beyond an encoder's capacity, a scalar; nil for a plain model
}

// Learnable reports why a swarm cannot be trained, or nil: training hands states on
// and mixes outputs, with decisions at equal distances.
func (c Config) Learnable() error {
	switch {
	case c.Plain():
		return nil
	case c.EncoderState != Handoff:
		return fmt.Errorf("encoder_state: %q cannot be trained, use %q", c.EncoderState, Handoff)
	case c.Fusion != FuseAttention:
		return fmt.Errorf("encoder_fusion: %q cannot be trained, use %q", c.Fusion, FuseAttention)
	case c.Router.Granularity == router.PerSequence:
		return fmt.Errorf("router_granularity: %q cannot be trained, use %q or %q", router.PerSequence, router.PerChunk, router.PerToken)
	}
	return nil
}

// Learn is the differentiable forward pass of a batch: the router plans each text,
// chunks are dispatched to [E, capacity·C] rows, one batched product for all
// encoders, and collected again for the scan, which runs once over all slots.
//
// w holds the backbone's tensors; those that encoders own are stacked (encoders.
// layers.{l}.…, [E, …]). ids: [B, T] int32, T a multiple of the chunk. prescribed:
// see [router.Config.Learn].
func (c Config) Learn(w mamba.Weights, ids, prescribed *Node, o LearnConfig) Learned {
	g, B := ids.Graph(), ids.Shape().Dimensions[0]
	zero := func(layers, batch int) []mamba.State {
		states := make([]mamba.State, layers)
		for i := range states {
			states[i] = c.Base.ZeroState(g, batch)
		}
		return states
	}
	x := c.Base.Embed(w, ids)
	if c.Plain() {
		hidden, _ := c.Base.Layers(w, x, 0, c.Base.NLayer, zero(c.Base.NLayer, B), mamba.Span{})
		return Learned{Hidden: hidden}
	}
	l := Learned{Decisions: c.Router.Learn(router.Learner{
		Embeddings: w("router.embeddings.weight"), Proj: w("router.proj.weight"), Bias: w("router.bias"),
	}, ids, prescribed)}
	spread := newSpread(c, l.Decisions.Slots, o)
	l.Dropped = spread.dropped
	l.Outputs = c.learnEncoders(w, spread, x, zero(c.NumEncoderLayers, B*c.Slots()))

	C := ids.Shape().Dimensions[1] / l.Decisions.Gates.Shape().Dimensions[1]
	quality := ReduceSum(Mul(l.Decisions.Slots, Reshape(w("aggregator.beta"), 1, 1, 1, c.Router.NumEncoders)), 3) // [B, n, k]
	fused, alpha := c.aggregate(w, x, l.Outputs, Routing{Gates: everyToken(l.Decisions.Gates, C), Quality: everyToken(quality, C)})
	l.Alpha = alpha
	l.Hidden, _ = c.Decode(w, fused, zero(c.Base.NLayer-c.NumEncoderLayers, B), mamba.Span{})
	return l
}

// everyToken repeats each chunk's row for its tokens: [B, n, k] to [B, nC, k].
func everyToken(x *Node, C int) *Node {
	d := x.Shape().Dimensions
	return Reshape(BroadcastToDims(ExpandAxes(x, 2), d[0], d[1], C, d[2]), d[0], d[1]*C, d[2])
}

// learnEncoders runs the encoders of all slots over x [B, T, d].
func (c Config) learnEncoders(w mamba.Weights, spread *spread, x *Node, states []mamba.State) []*Node {
	k, d := c.Slots(), x.Shape().Dimensions
	B, T := d[0], d[1]
	u := repeat(x, k) // [k·B, T, d]
	for l, state := range states {
		layer := fmt.Sprintf("layers.%d.", l)
		own := w.In("encoders." + layer)
		entered := spread.apply(c.Base.RMSNormalize(u), own, c.Base.In)
		y, z, _ := c.Base.Scan(w.In(layer), entered, state, mamba.Span{}) // [k·B, T, di]
		u = Add(u, ConvertDType(spread.apply(c.Base.Gate(y, z), own, c.Base.Out), dtypes.Float32))
	}
	slots := make([]*Node, k)
	for s := range slots {
		slots[s] = Reshape(Slice(u, AxisRange(s*B, (s+1)*B)), B, T, c.Base.DModel)
	}
	return slots
}

// spread says to which of E encoders each chunk of each slot goes, and to which of an
// encoder's places. Slot 0 is left out where its encoder never changes.
type spread struct {
	B, C     int   // texts, tokens a chunk
	pinned   bool  // slot 0 runs encoder 0
	E        int   // encoders with places
	capacity int   // places of an encoder, in chunks
	place    *Node // [U] int32: encoder·capacity + place, or E·capacity for a dropped chunk
	dropped  *Node // scalar f32
}

// newSpread gives each chunk the next free place of its encoder.
// slots: [B, n, k, E] one-hot.
func newSpread(c Config, slots *Node, o LearnConfig) *spread {
	d := slots.Shape().Dimensions
	B, n, k, E := d[0], d[1], d[2], d[3]
	s := &spread{B: B, C: c.Router.NextDecision(0), pinned: o.PinFirst, E: E}
	if s.pinned {
		slots = Slice(slots, AxisRange(), AxisRange(), AxisRange(1), AxisRange(1))
		k, s.E = k-1, E-1
	}
	U := k * B * n
	s.capacity = int(math.Ceil(o.Capacity * float64(U) / float64(s.E)))
	s.capacity = max(1, min(s.capacity, U))
	chosen := Reshape(TransposeAllDims(slots, 2, 0, 1, 3), U, s.E)                                             // [U, E], slot by slot
	before := Sub(runningSums(chosen), chosen)                                                                 // chunks of the encoder before this one
	at := ReduceSum(Mul(chosen, before), 1)                                                                    // [U]
	encoder := ReduceSum(Mul(chosen, ConvertDType(Iota(slots.Graph(), chosen.Shape(), 1), dtypes.Float32)), 1) // [U]
	fits := LessThan(at, Const(slots.Graph(), float32(s.capacity)))
	nowhere := FillScalar(slots.Graph(), at.Shape(), float64(s.E*s.capacity))
	s.place = StopGradient(ConvertDType(Where(fits, Add(MulScalar(encoder, float64(s.capacity)), at), nowhere), dtypes.Int32))
	s.dropped = StopGradient(ReduceAllSum(ConvertDType(LogicalNot(fits), dtypes.Float32)))
	return s
}

// runningSums adds up the rows of x [U, E], each with all before it: by products with
// triangles, within blocks and from block to block. Counts are exact in f32.
func runningSums(x *Node) *Node {
	const block = 64
	g, U, E := x.Graph(), x.Shape().Dimensions[0], x.Shape().Dimensions[1]
	n := (U + block - 1) / block
	lower := func(size int) *Node { return ConvertDType(LowerTriangular(g, size), dtypes.Float32) }
	padded := x
	if n*block > U {
		padded = Concatenate([]*Node{x, zerosLike(x, n*block-U)}, 0)
	}
	blocks := Reshape(padded, n, block, E)
	within := TransposeAllDims(DotGeneral(lower(block), []int{1}, nil, blocks, []int{1}, nil), 1, 0, 2) // [n, block, E]
	totals := ReduceSum(blocks, 1)                                                                      // [n, E]
	earlier := Sub(DotGeneral(lower(n), []int{1}, nil, totals, []int{0}, nil), totals)                  // [n, E]
	return Slice(Reshape(Add(within, ExpandAxes(earlier, 1)), n*block, E), AxisRange(0, U))
}

// apply computes f, a map of rows by an encoder's weights, with each chunk's encoder.
// x: [k·B, T, m]; own: the stacked tensors of a layer. Returns [k·B, T, width].
func (s *spread) apply(x *Node, own mamba.Weights, f func(w mamba.Weights, rows *Node) *Node) *Node {
	T := x.Shape().Dimensions[1]
	if !s.pinned {
		return s.dispatch(x, own, f)
	}
	first := f(func(name string) *Node { return row(own(name), 0) }, Slice(x, AxisRange(0, s.B)))
	if x.Shape().Dimensions[0] == s.B {
		return first
	}
	rest := s.dispatch(Slice(x, AxisRange(s.B)), func(name string) *Node { return Slice(own(name), AxisRange(1)) }, f)
	return Concatenate([]*Node{first, Reshape(rest, rest.Shape().Dimensions[0], T, first.Shape().Dimensions[2])}, 0)
}

// row is entry e of the first axis of x.
func row(x *Node, e int) *Node {
	return Reshape(Slice(x, AxisRange(e, e+1)), x.Shape().Dimensions[1:]...)
}

// dispatch is apply for the slots that have places.
func (s *spread) dispatch(x *Node, own mamba.Weights, f func(w mamba.Weights, rows *Node) *Node) *Node {
	d := x.Shape().Dimensions
	U := d[0] * d[1] / s.C
	placed := s.put(Reshape(x, U, s.C*d[2])) // [E·capacity, C·m]
	placed = Reshape(placed, s.E, s.capacity*s.C, d[2])
	out := f(own, placed) // [E, capacity·C, width]
	width := out.Shape().Dimensions[2]
	return Reshape(s.take(Reshape(out, s.E*s.capacity, s.C*width)), d[0], d[1], width)
}

// put brings the rows of x [U, m] to their places [E·capacity, m]; empty places are
// zero.
func (s *spread) put(x *Node) *Node {
	places := s.E * s.capacity
	return Slice(s.scatter(x, places+1), AxisRange(0, places))
}

func (s *spread) scatter(x *Node, places int) *Node {
	return ScatterSum(zerosLike(x, places), Reshape(s.place, s.place.Shape().Size(), 1), x, false, true)
}

// take is the reverse of put: the rows at their places of y [E·capacity, m], zero for
// dropped ones. The gradient of a gather adds rows up one by one; no two of these
// share a place, which a scatter that knows it makes a copy.
func (s *spread) take(y *Node) *Node {
	U, places := s.place.Shape().Size(), s.E*s.capacity
	y = Concatenate([]*Node{y, zerosLike(y, max(1, U-places))}, 0)
	rows := StopGradient(Gather(y, Reshape(s.place, U, 1)))
	path := IdentityWithCustomGradient(y, func(y, v *Node) *Node {
		return s.scatter(Slice(v, AxisRange(0, U)), y.Shape().Dimensions[0])
	})
	path = Slice(path, AxisRange(0, U))
	return Add(rows, Sub(path, StopGradient(path)))
}

// zerosLike returns n rows of zeros as wide as those of x.
func zerosLike(x *Node, n int) *Node {
	shape := x.Shape().Clone()
	shape.Dimensions[0] = n
	return Zeros(x.Graph(), shape)
}
