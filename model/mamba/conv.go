package mamba

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/internal/kernel"
)

// conv is the causal depthwise convolution followed by SiLU.
//
// proj: [B, T, InProjDim], whose columns [first, first+C) are the input; state:
// [B, K-1, C], the inputs before them; weights conv1d.weight [C, 1, K] and
// conv1d.bias [C]. Returns y [B, T, C] and the state after the last valid token.
func (c Config) conv(w Weights, proj *Node, first int, state *Node, span Span) (y, next *Node) {
	K, C, T := c.DConv, c.ConvDim(), proj.Shape().Dimensions[1]
	x := span.zero(part(proj, first, first+C))
	before := ConvertDType(state, x.DType())
	extended := Concatenate([]*Node{before, x}, 1) // [B, K-1+T, C]
	window := func(from, to int) *Node { return Slice(extended, AxisRange(), AxisRange(from, to)) }
	if c.ForwardGPU {
		window = func(from, to int) *Node { return joined(before, x, from, to) }
	}
	next = window(T, T+K-1) // [B, K-1, C]
	if span.Length != nil {
		next = SliceAt(extended, 1, span.Length, K-1)
	}
	next = widen(next)
	if c.hasKernel(proj) && proj.DType() == dtypes.Float32 && K <= kernel.MaxTaps {
		return c.convKernel(w, proj, first, state, span), next
	}
	taps := Transpose(Reshape(w("conv1d.weight"), C, K), 0, 1) // [K, C]
	for k := range K {
		term := Mul(widen(window(k, k+T)), Reshape(Slice(taps, AxisRange(k, k+1)), 1, 1, C))
		if y == nil {
			y = term
		} else {
			y = Add(y, term)
		}
	}
	if c.UseConvBias {
		y = Add(y, alignRight(w("conv1d.bias"), 3))
	}
	return c.narrow(span.zero(silu(y))), next
}

// joined gives the entries [from, to) of axis 1 of first and second in a row, without
// joining the rest: a GPU computes it in the kernel that reads it.
func joined(first, second *Node, from, to int) *Node {
	n := first.Shape().Dimensions[1]
	if to <= n {
		return Slice(first, AxisRange(), AxisRange(from, to))
	}
	late := Slice(second, AxisRange(), AxisRange(max(from-n, 0), to-n))
	if from >= n {
		return late
	}
	return Concatenate([]*Node{Slice(first, AxisRange(), AxisRange(from)), late}, 1)
}
