package mamba

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// dot is batchDot over one axis each, in parts for a graph that is [Config.ForwardGPU].
func (c Config) dot(lhs *Node, lhsContract, lhsBatch []int, rhs *Node, rhsContract, rhsBatch []int) *Node {
	if !c.ForwardGPU || lhs.DType() != dtypes.Float32 {
		return batchDot(lhs, lhsContract, lhsBatch, rhs, rhsContract, rhsBatch)
	}
	return splitDot(lhs, lhsContract[0], lhsBatch, rhs, rhsContract[0], rhsBatch)
}

// splitDot is DotGeneral of f32 over one axis each. With every factor as high + low,
// both bf16, a product is high·high + low·high + high·low, but for 2^-17 of it: one
// product of bf16 over an axis three times as long, added up in f32. The batch axes
// come before the contracted ones.
func splitDot(lhs *Node, lhsContract int, lhsBatch []int, rhs *Node, rhsContract int, rhsBatch []int) *Node {
	lhs, rhs = splitAxis(lhs, lhsContract, 1), splitAxis(rhs, rhsContract, 2)
	return Dot(lhs, rhs).WithAccumulatorDType(dtypes.Float32).WithOutputDType(dtypes.Float32).
		General([]int{lhsContract, lhsContract + 1}, lhsBatch, []int{rhsContract, rhsContract + 1}, rhsBatch)
}

// splitAxis puts an axis of 3 before an axis of x: the high parts of the values, but
// the low ones in place low. The high part is cut off as bits, because XLA takes a
// conversion to bf16 and back for none.
func splitAxis(x *Node, axis, low int) *Node {
	g := x.Graph()
	x = ExpandAxes(x, axis)
	three := slices.Clone(x.Shape().Dimensions)
	three[axis] = 3
	bits := Bitcast(x, dtypes.Uint32)
	constant := func(v uint32) *Node { return BroadcastToDims(Const(g, v), bits.Shape().Dimensions...) }
	bits = BitwiseAnd(Add(bits, constant(1<<15)), constant(0xffff<<16)) // rounded to 8 bits of mantissa
	high := Bitcast(bits, dtypes.Float32)
	place := Iota(g, shapes.Make(dtypes.Int32, three...), axis)
	isLow := Equal(place, BroadcastToDims(Const(g, int32(low)), three...))
	return ConvertDType(Where(isLow, BroadcastToDims(Sub(x, high), three...), BroadcastToDims(high, three...)), dtypes.BFloat16)
}
