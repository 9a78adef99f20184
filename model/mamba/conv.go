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
	extended := Concatenate([]*Node{ConvertDType(state, x.DType()), x}, 1) // [B, K-1+T, C]
	next = Slice(extended, AxisRange(), AxisRange(T), AxisRange())         // [B, K-1, C]
	if span.Length != nil {
		next = sliceAt(extended, 1, span.Length, K-1)
	}
	next = widen(next)
	if c.hasKernel(proj) && proj.DType() == dtypes.Float32 && K <= kernel.MaxTaps {
		return c.convKernel(w, proj, first, state, span), next
	}
	taps := Transpose(Reshape(w("conv1d.weight"), C, K), 0, 1) // [K, C]
	for k := range K {
		term := Mul(widen(Slice(extended, AxisRange(), AxisRange(k, k+T))), Reshape(Slice(taps, AxisRange(k, k+1)), 1, 1, C))
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
