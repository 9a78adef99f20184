// Package num holds the few numeric functions on slices that more than one
// package needs: the largest elements, log-sum-exp and softmax.
//
// They accumulate in float64 whatever the element type, never overflow for finite
// input, and state what they do with NaN and infinities.
package num

import (
	"math"
	"slices"
)

// Float is the element type of the slices of this package.
type Float interface{ ~float32 | ~float64 }

// TopK returns the indices of the k largest elements of x, largest first. Equal
// elements are taken in order of their index, and NaN counts as smaller than
// every number, so the answer is unique for every x. It returns all len(x) indices
// if k is larger, none if k <= 0.
//
// The time is O(n log k) in the worst case and close to one comparison per
// element when k is small.
func TopK[T Float](x []T, k int) []int {
	k = min(max(k, 0), len(x))
	top := make([]int, k)
	for i := range top {
		top[i] = i
	}
	if k == 0 {
		return top
	}
	// top is a heap with the element that leaves first, the lowest ranked, at the root.
	for i := k/2 - 1; i >= 0; i-- {
		sink(x, top, i)
	}
	for i := k; i < len(x); i++ {
		if outranks(x, i, top[0]) {
			top[0] = i
			sink(x, top, 0)
		}
	}
	slices.SortFunc(top, func(i, j int) int {
		if outranks(x, i, j) {
			return -1
		}
		return 1
	})
	return top
}

// outranks reports whether x[i] comes before x[j] in TopK's order; i != j.
func outranks[T Float](x []T, i, j int) bool {
	switch {
	case x[i] > x[j]:
		return true
	case x[i] < x[j]:
		return false
	case x[i] == x[j]:
		return i < j
	}
	// At least one is NaN.
	if iNaN, jNaN := x[i] != x[i], x[j] != x[j]; iNaN != jNaN {
		return jNaN
	}
	return i < j
}

// sink moves the element at node down until no child is ranked below it.
func sink[T Float](x []T, heap []int, node int) {
	for {
		child := 2*node + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && outranks(x, heap[child], heap[child+1]) {
			child++
		}
		if outranks(x, heap[child], heap[node]) {
			return
		}
		heap[node], heap[child] = heap[child], heap[node]
		node = child
	}
}

// LogSumExp returns log(Σ exp(x_i)): x_i - LogSumExp(x) is the natural logarithm of
// element i's softmax. It is -Inf for no elements or if all are -Inf, +Inf if one is
// +Inf, and NaN if one is NaN.
func LogSumExp[T Float](x []T) float64 {
	if len(x) == 0 {
		return math.Inf(-1)
	}
	largest := float64(slices.Max(x)) // NaN if one element is
	if math.IsInf(largest, 0) {
		return largest
	}
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v) - largest)
	}
	return largest + math.Log(sum)
}

// Softmax writes exp(x_i) / Σ exp(x_j) to dst, which has the length of x and may be
// x itself. If the largest element is infinite (+Inf, or all are -Inf), those equal
// to it share the weight equally and the others get 0. If one element is NaN, all
// of dst is NaN.
func Softmax[T Float](dst, x []T) {
	if len(x) == 0 {
		return
	}
	largest := float64(slices.Max(x))
	var sum float64
	for i, v := range x {
		w := 1.0 // exp(0), of equal infinities too
		if float64(v) != largest {
			w = math.Exp(float64(v) - largest)
		}
		sum += w
		dst[i] = T(w)
	}
	for i := range dst {
		dst[i] = T(float64(dst[i]) / sum)
	}
}
