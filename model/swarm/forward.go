package swarm

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// Routing is a router's decision as inputs of the graph.
type Routing struct {
	Gates   *Node // [T, k] weight of each slot's encoder at each token
	Quality *Node // [T, k] the aggregator's beta of each slot's encoder at each token
	Keep    *Node // [k] 0 where a slot restarts (encoder_state reset), else 1; nil keeps all
}

// Slots returns how many encoder states a sequence has: k, or 1 where the
// encoders' weights are merged.
func (c Config) Slots() int {
	if c.Plain() {
		return 0
	}
	if c.Fusion == FuseWeights {
		return 1
	}
	return c.Router.EncodersPerToken
}

// Encode computes what the decoder reads: embedding, the active encoders and their
// fusion (architecture: one slot is an ordinary Mamba whose in and out matrices
// belong to its encoder). A plain model's is the embedding.
//
// core holds the backbone's tensors, bank[s] those of the encoder that is in slot s
// throughout (layers.{l}.…). ids: [B, T] int32. Returns [B, T, d] and the encoder
// layers' states after the last valid token.
func (c Config) Encode(core mamba.Weights, bank []mamba.Weights, ids *Node, routing Routing, states []mamba.State, span mamba.Span) (*Node, []mamba.State) {
	x := c.Base.Embed(core, ids)
	if c.Plain() {
		return x, nil
	}
	slots, next := c.encode(core, bank, x, routing, states, span)
	fused, _ := c.aggregate(core, x, slots, routing)
	return fused, next
}

// Decode runs the decoder's layers over x [B, T, d]. Returns the hidden states
// before the final norm, of the same shape, and the layers' states after the last
// valid token.
func (c Config) Decode(core mamba.Weights, x *Node, states []mamba.State, span mamba.Span) (*Node, []mamba.State) {
	return c.Base.Layers(core, x, c.NumEncoderLayers, c.Base.NLayer, states, span)
}

// encode runs the encoders of all slots over x [B, T, d]. The slots share
// convolution and scan, so these run once over the batch axis [S·B].
// Returns one [B, T, d] per slot.
func (c Config) encode(core mamba.Weights, bank []mamba.Weights, x *Node, routing Routing, states []mamba.State, span mamba.Span) ([]*Node, []mamba.State) {
	S, B := len(bank), x.Shape().Dimensions[0]
	u := make([]*Node, S)
	for s := range u {
		u[s] = x
	}
	if span.Mask != nil {
		span.Mask = repeat(span.Mask, S)
	}
	next := make([]mamba.State, len(states))
	for l, state := range states {
		layer := fmt.Sprintf("layers.%d.", l)
		entered := make([]*Node, S)
		for s := range u {
			entered[s] = c.Base.Enter(bank[s].In(layer), u[s]) // [B, T, InProjDim]
		}
		y, z, after := c.Base.Scan(core.In(layer), Concatenate(entered, 0), restart(state, routing.Keep, B), span) // [S·B, T, di]
		next[l] = after
		for s := range u {
			of := func(n *Node) *Node { return Slice(n, AxisRange(s*B, (s+1)*B)) }
			u[s] = Add(u[s], c.Base.Leave(bank[s].In(layer), of(y), of(z)))
		}
	}
	return u, next
}

// repeat stacks n copies of x along axis 0.
func repeat(x *Node, n int) *Node {
	copies := make([]*Node, n)
	for i := range copies {
		copies[i] = x
	}
	return Concatenate(copies, 0)
}

// restart zeroes the states of the slots that keep [S] marks with 0.
func restart(s mamba.State, keep *Node, batch int) mamba.State {
	if keep == nil {
		return s
	}
	S := keep.Shape().Dimensions[0]
	mask := func(x *Node) *Node {
		dims := make([]int, x.Rank())
		for i := range dims {
			dims[i] = 1
		}
		dims[0] = S * batch
		rows := Reshape(BroadcastToDims(Reshape(keep, S, 1), S, batch), dims...)
		return Mul(x, rows)
	}
	return mamba.State{Conv: mask(s.Conv), SSM: mask(s.SSM)}
}
