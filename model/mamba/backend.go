package mamba

import (
	"strings"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
)

// sliceAt cuts size entries of one axis of x, beginning at the scalar int32
// start. XLA wants a dynamic slice (and allows no gather inside a loop); the go
// back end has only the gather.
func sliceAt(x *Node, axis int, start *Node, size int) *Node {
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

// setRow writes row [1, ...] into axis 0 of x at the scalar int32 index; the row
// there must be zero.
func setRow(x, row, index *Node) *Node {
	if x.Graph().Backend().Capabilities().Operations[compute.OpTypeDynamicUpdateSlice] {
		starts := make([]*Node, x.Rank())
		zero := Sub(index, index)
		for i := range starts {
			starts[i] = zero
		}
		starts[0] = index
		return DynamicUpdateSlice(x, row, starts)
	}
	return ScatterSum(x, Reshape(index, 1, 1), row, true, true)
}

// defaultScan picks how Mamba-1's recurrence is computed where the configuration
// leaves it open: a loop over time costs almost nothing an iteration on a CPU but
// about 20 µs on a GPU, where the parallel form is the faster one.
func defaultScan(b compute.Backend) Scan {
	if strings.Contains(strings.ToLower(b.Description()), "cuda") {
		return ScanAssociative
	}
	return ScanSequential
}
