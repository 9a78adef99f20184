package mamba

import (
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// SliceAt cuts size entries of one axis of x, beginning at the scalar int32
// start. XLA wants a dynamic slice (and allows no gather inside a loop); the go
// back end has only the gather.
func SliceAt(x *Node, axis int, start *Node, size int) *Node {
	dims := append([]int{}, x.Shape().Dimensions...)
	dims[axis] = size
	if x.Graph().Backend().Capabilities().Operations[compute.OpTypeDynamicSlice] {
		starts := make([]*Node, x.Rank())
		zero := Sub(start, start)
		for i := range starts {
			starts[i] = zero
		}
		starts[axis] = start
		return DynamicSlice(x, starts, dims)
	}
	return Reshape(GatherSlices(x, []int{axis}, Reshape(start, 1), []int{size}, true), dims...)
}

// SetRows writes rows [n, ...] into axis 0 of x from the scalar int32 index on; the
// rows there must be zero.
func SetRows(x, rows, index *Node) *Node {
	if x.Graph().Backend().Capabilities().Operations[compute.OpTypeDynamicUpdateSlice] {
		starts := make([]*Node, x.Rank())
		zero := Sub(index, index)
		for i := range starts {
			starts[i] = zero
		}
		starts[0] = index
		return DynamicUpdateSlice(x, rows, starts)
	}
	n := rows.Shape().Dimensions[0]
	at := Add(Reshape(index, 1, 1), Iota(x.Graph(), shapes.Make(dtypes.Int32, n, 1), 0))
	return ScatterSum(x, at, rows, true, true)
}

// OnGPU reports whether a back end computes on a GPU.
func OnGPU(b compute.Backend) bool {
	return strings.Contains(strings.ToLower(b.Description()), "cuda")
}

// defaultScan picks how Mamba-1's recurrence is computed where the configuration
// leaves it open: a loop over time costs almost nothing an iteration on a CPU but
// about 20 µs on a GPU, where fewer and wider steps are faster. Neither has a
// gradient.
func defaultScan(b compute.Backend) Scan {
	if OnGPU(b) {
		return ScanChunked
	}
	return ScanSequential
}

// ssdChunk is the longest chunk of the SSD algorithm that is built for T tokens of
// B texts: longer ones cost more arithmetic and memory. On a GPU few tokens are
// bound by launches, of which fewer chunks need fewer.
func ssdChunk(b compute.Backend, B, T int) int {
	const launchBound = 8192 // tokens
	if OnGPU(b) && B*T <= launchBound {
		return 128
	}
	return 64
}

// splitRows is how many rows of a product pay for splitting its weight, see
// [splitDot].
const splitRows = 256

// product contracts rows [n, in] with weight [out, in] and returns [n, out] in the
// type of rows. A CPU widens a weight of low precision, which XLA fuses into a
// matrix-vector product; a GPU has units for bf16 times bf16 that add up in f32.
func (c Config) product(rows, weight *Node) *Node {
	if rows.DType() == dtypes.BFloat16 {
		return DotNarrow(rows, []int{1}, nil, ConvertDType(weight, dtypes.BFloat16), []int{1}, nil)
	}
	if weight.DType() == dtypes.BFloat16 && OnGPU(rows.Graph().Backend()) {
		return Dot(ConvertDType(rows, dtypes.BFloat16), weight).WithAccumulatorDType(dtypes.Float32).WithOutputDType(dtypes.Float32).
			General([]int{1}, nil, []int{1}, nil)
	}
	if rows.Shape().Dimensions[0] >= splitRows {
		return c.dot(rows, []int{1}, nil, widen(weight), []int{1}, nil)
	}
	return DotGeneral(rows, []int{1}, nil, widen(weight), []int{1}, nil)
}

// DotNarrow is DotGeneral for operands in bf16: so are its result and, other than
// those of GoMLX's default, the products of its gradient. The back end still adds
// up in f32. The go back end is given operands in f32: where it has AVX2, sums of 16
// products and more of bf16 are wrong (compute v0.1.2).
func DotNarrow(lhs *Node, lhsContract, lhsBatch []int, rhs *Node, rhsContract, rhsBatch []int) *Node {
	if lhs.Graph().Backend().String() == "go" {
		return ConvertDType(DotGeneral(widen(lhs), lhsContract, lhsBatch, widen(rhs), rhsContract, rhsBatch), dtypes.BFloat16)
	}
	return Dot(lhs, rhs).WithAccumulatorDType(dtypes.InvalidDType).General(lhsContract, lhsBatch, rhsContract, rhsBatch)
}
