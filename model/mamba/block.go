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
	return Add(x, c.Leave(w, y, z)), next
}

// Enter normalises and projects: in_proj(norm(x)).
// x: [B, T, d]. Returns [B, T, InProjDim].
func (c Config) Enter(w Weights, x *Node) *Node {
	x.AssertDims(-1, -1, c.DModel)
	return linear(w, "mixer.in_proj", RMSNorm(x, w("norm.weight"), c.NormEps), c.UseBias)
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
	return linear(w, "mixer.out_proj", c.gate(w, y, z), c.UseBias)
}

// gate is y·silu(z), with Mamba-2's RMS norm after (or, by configuration, before)
// the product, over groups of NormGroupSize channels.
func (c Config) gate(w Weights, y, z *Node) *Node {
	if c.Kind != Mamba2 || !c.RMSNorm {
		return Mul(y, silu(z))
	}
	norm := func(x *Node) *Node {
		d := x.Shape().Dimensions
		size := c.NormGroupSize
		if size == 0 {
			size = d[2]
		}
		grouped := rmsNormalize(Reshape(x, d[0], d[1], d[2]/size, size), c.NormEps) // [B, T, groups, size]
		return Mul(Reshape(grouped, d...), alignRight(w("mixer.norm.weight"), 3))
	}
	if c.NormBeforeGate {
		return Mul(norm(y), silu(z))
	}
	return norm(Mul(y, silu(z)))
}
