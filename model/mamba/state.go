package mamba

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// State is what one layer remembers of the tokens before: the last K-1 inputs of
// the convolution and the state space's hidden state. It is O(1) in T.
type State struct {
	Conv *Node // [B, K-1, ConvDim]
	SSM  *Node // Mamba-1: [B, N, di]; Mamba-2: [B, G, di/G, N]
}

// StateShapes returns the shapes of one layer's State for a batch. Zeros are the
// state before the first token.
func (c Config) StateShapes(batch int) (conv, ssm shapes.Shape) {
	conv = shapes.Make(dtypes.Float32, batch, c.DConv-1, c.ConvDim())
	if c.Kind == Mamba2 {
		return conv, shapes.Make(dtypes.Float32, batch, c.NGroups, c.DInner()/c.NGroups, c.DState)
	}
	return conv, shapes.Make(dtypes.Float32, batch, c.DState, c.DInner())
}

// ZeroState returns the state before the first token.
func (c Config) ZeroState(g *Graph, batch int) State {
	conv, ssm := c.StateShapes(batch)
	return State{Conv: Zeros(g, conv), SSM: Zeros(g, ssm)}
}

// Span says which of the T positions hold tokens. The zero Span: all do.
type Span struct {
	// Mask is 1 at tokens and 0 at padding, [B, T] f32; nil means no padding.
	Mask *Node
	// Length is the number of leading positions that hold tokens, a scalar int32,
	// where the rest is padding at the end; nil means that the last position is a
	// token. A Length needs a Mask that agrees with it.
	Length *Node
}

// zero clears the padded positions of x [B, T, n].
func (s Span) zero(x *Node) *Node {
	if s.Mask == nil {
		return x
	}
	d := x.Shape().Dimensions
	return Mul(x, Reshape(s.Mask, d[0], d[1], 1))
}
