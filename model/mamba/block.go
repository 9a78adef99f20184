package mamba

import (
	. "github.com/gomlx/gomlx/core/graph"
)

// Block is one pre-norm residual layer: x + mixer(norm(x)).
//
// w holds the layer's tensors (norm.weight, mixer.*). x: [B, T, d]. Returns the
// same shape and the state after the last valid token.
func (c Config) Block(w Weights, x *Node, s State, span Span) (*Node, State) {
	x.AssertDims(-1, -1, c.DModel)
	y, z, next := c.Scan(w, c.Enter(w, x), s, span)
	return Add(x, widen(c.Leave(w, y, z))), next
}

// Enter normalises and projects: in_proj(norm(x)).
// x: [B, T, d]. Returns [B, T, InProjDim].
func (c Config) Enter(w Weights, x *Node) *Node {
	x.AssertDims(-1, -1, c.DModel)
	return c.In(w, c.RMSNormalize(x))
}

// In is Enter after the normalisation: what needs the layer's weights. It can be
// built inside a loop.
// x: [..., d], normalised. Returns [..., InProjDim].
func (c Config) In(w Weights, x *Node) *Node {
	return c.linear(w, "mixer.in_proj", c.narrow(Mul(x, alignVector(w("norm.weight"), x.Rank()))), c.UseBias)
}

// Scan runs convolution and state space over what Enter returned.
// proj: [B, T, InProjDim]. Returns y and the gate's input z, both [B, T, di], and
// the state after the last valid token.
func (c Config) Scan(w Weights, proj *Node, s State, span Span) (y, z *Node, next State) {
	proj.AssertDims(-1, -1, c.InProjDim())
	if c.Kind == Mamba2 {
		return c.scanSSD(w.In("mixer."), proj, s, span)
	}
	return c.scanS6(w.In("mixer."), proj, s, span)
}

// Leave gates and projects: out_proj(gate(y, z)).
// y, z: [B, T, di]. Returns [B, T, d].
func (c Config) Leave(w Weights, y, z *Node) *Node {
	y.AssertDims(-1, -1, c.DInner())
	return c.Out(w, c.Gate(y, z))
}

// Gate is y·silu(z), with Mamba-2's RMS normalisation after (or, by configuration,
// before) the product, over groups of NormGroupSize channels. Out multiplies by the
// norm's weight.
// y, z: [B, T, di]. Returns the same shape.
func (c Config) Gate(y, z *Node) *Node {
	y, z = widen(y), widen(z)
	if c.Kind != Mamba2 || !c.RMSNorm {
		return Mul(y, silu(z))
	}
	normalize := func(x *Node) *Node {
		d, size := x.Shape().Dimensions, c.normSize()
		return Reshape(rmsNormalize(Reshape(x, d[0], d[1], d[2]/size, size), c.NormEps), d...)
	}
	if c.NormBeforeGate {
		return Mul(normalize(y), silu(z))
	}
	return normalize(Mul(y, silu(z)))
}

// normSize is the number of channels whose mean Mamba-2's norm takes together.
func (c Config) normSize() int {
	if c.NormGroupSize == 0 {
		return c.DInner()
	}
	return c.NormGroupSize
}

// Out is Leave after the gate: what needs the layer's weights. It can be built
// inside a loop.
// x: [..., di]. Returns [..., d].
func (c Config) Out(w Weights, x *Node) *Node {
	if c.Kind == Mamba2 && c.RMSNorm {
		x = Mul(x, alignVector(w("mixer.norm.weight"), x.Rank()))
	}
	return c.linear(w, "mixer.out_proj", c.narrow(x), c.UseBias)
}
