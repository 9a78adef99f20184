package mamba

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// scanSSD is Mamba-2's mixer between in_proj and the gate (Dao & Gu 2024, §6):
// B and C are shared by the heads of a group, A is one scalar per head.
//
// w holds the mixer's tensors. proj: [B, T, 2di+2GN+H]. Returns y, z: [B, T, di].
func (c Config) scanSSD(w Weights, proj *Node, s State, span Span) (y, z *Node, next State) {
	di, G, N, H, P := c.DInner(), c.NGroups, c.DState, c.NHeads, c.HeadDim
	B, T := proj.Shape().Dimensions[0], proj.Shape().Dimensions[1]
	z = part(proj, 0, di)
	xBC, conv := c.conv(w, proj, di, s.Conv, span)

	delta := softplus(Add(widen(part(proj, di+c.ConvDim(), c.InProjDim())), alignRight(w("dt_bias"), 3)))
	if low, high := c.TimeStepLimit[0], c.TimeStepLimit[1]; low > 0 || !math.IsInf(high, 1) {
		delta = MinScalar(MaxScalar(delta, low), math.Min(high, math.MaxFloat32)) // Clip has no gradient
	}
	delta = span.zero(delta) // [B, T, H]

	x := part(xBC, 0, di)                                  // [B, T, di]
	Bt := Reshape(part(xBC, di, di+G*N), B, T, G, N)       // [B, T, G, N]
	Ct := Reshape(part(xBC, di+G*N, di+2*G*N), B, T, G, N) // [B, T, G, N]
	A := Neg(Exp(w("A_log")))                              // [H]
	heads := widen(Reshape(x, B, T, H, P))                 // [B, T, H, P]
	dx := c.narrow(Mul(heads, Reshape(delta, B, T, H, 1))) // [B, T, H, P]
	dA := Mul(delta, alignRight(A, 3))                     // [B, T, H]
	var ssm *Node
	if c.hasKernel(proj) && dx.DType() == dtypes.Float32 && fitsScan2(P, N) {
		y, ssm = ssdKernel(s.SSM, dA, dx, Bt, Ct)
	} else if T == 1 {
		y, ssm = ssdStep(s.SSM, dA, dx, Bt, Ct)
	} else {
		y, ssm = c.ssd(s.SSM, dA, dx, Bt, Ct, min(ssdChunk(proj.Graph().Backend(), B, T), T))
	}
	skip := Mul(heads, Reshape(w("D"), 1, 1, H, 1)) // [B, T, H, P]
	return c.narrow(Add(y, Reshape(skip, B, T, di))), z, State{conv, ssm}
}

// ssdStep is ssd for T = 1: h = exp(dA)·h + dx ⊗ B, y = h·C.
func ssdStep(h, dA, dx, Bt, Ct *Node) (y, last *Node) {
	d := h.Shape().Dimensions
	B, G, W, N := d[0], d[1], d[2], d[3]
	H, P := dx.Shape().Dimensions[2], dx.Shape().Dimensions[3]
	decay := Reshape(BroadcastToDims(Reshape(Exp(dA), B, H, 1), B, H, P), B, G, W, 1)
	h = Add(Mul(h, decay), Mul(Reshape(dx, B, G, W, 1), Reshape(Bt, B, G, 1, N)))         // [B, G, W, N]
	y = DotGeneral(Reshape(Ct, B, G, N), []int{2}, []int{0, 1}, h, []int{3}, []int{0, 1}) // [B, G, W]
	return Reshape(y, B, 1, G*W), h
}

// ssd computes h_t = exp(dA_t)·h_{t-1} + B_t ⊗ dx_t and y_t = C_t·h_t by the
// chunked algorithm of Dao & Gu 2024, Listing 1: matrix products inside chunks of
// Q tokens, and one from chunk to chunk. It is differentiable. The decays are f32;
// what they are multiplied with keeps the type of dx.
//
// h: [B, G, W, N] with W = (H/G)·P; dA: [B, T, H]; dx: [B, T, H, P]; Bt, Ct:
// [B, T, G, N]. Returns y [B, T, di] in f32 and the last h.
func (c Config) ssd(h, dA, dx, Bt, Ct *Node, Q int) (y, last *Node) {
	B, T, H, P := dx.Shape().Dimensions[0], dx.Shape().Dimensions[1], dx.Shape().Dimensions[2], dx.Shape().Dimensions[3]
	G, N := Bt.Shape().Dimensions[2], Bt.Shape().Dimensions[3]
	n := (T + Q - 1) / Q
	J, W := H/G, H/G*P // heads and channels per group

	dA, dx, Bt, Ct = padTime(dA, n*Q), padTime(dx, n*Q), padTime(Bt, n*Q), padTime(Ct, n*Q)
	dA = TransposeAllDims(Reshape(dA, B*n, Q, G, J), 0, 2, 3, 1)       // [Bn, G, J, Q]
	dx = TransposeAllDims(Reshape(dx, B*n, Q, G, J, P), 0, 2, 3, 1, 4) // [Bn, G, J, Q, P]
	Bt = TransposeAllDims(Reshape(Bt, B*n, Q, G, N), 0, 2, 1, 3)       // [Bn, G, Q, N]
	Ct = TransposeAllDims(Reshape(Ct, B*n, Q, G, N), 0, 2, 1, 3)       // [Bn, G, Q, N]
	like := func(x *Node) *Node { return ConvertDType(x, dx.DType()) }

	// Within a chunk: y_i = Σ_{j<=i} (C_i·B_j) decay_ij dx_j.
	sum := prefixSums(dA)                                                                // [Bn, G, J, Q], dA_0 + … + dA_i
	CB := c.dot(Ct, []int{3}, []int{0, 1}, Bt, []int{3}, []int{0, 1})                    // [Bn, G, Q, Q]
	M := like(Mul(decays(sum), ExpandAxes(widen(CB), 2)))                                // [Bn, G, J, Q, Q]
	inside := widen(batchDot(M, []int{4}, []int{0, 1, 2}, dx, []int{3}, []int{0, 1, 2})) // [Bn, G, J, Q, P]

	// What each chunk adds to the state.
	total := Slice(sum, AxisRange(), AxisRange(), AxisRange(), AxisRange(Q-1))    // [Bn, G, J, 1]
	late := like(Mul(widen(dx), ExpandAxes(Exp(Sub(total, sum)), 4)))             // [Bn, G, J, Q, P]
	late = Reshape(TransposeAllDims(late, 0, 1, 3, 2, 4), B*n, G, Q, W)           // [Bn, G, Q, W]
	added := widen(c.dot(late, []int{2}, []int{0, 1}, Bt, []int{2}, []int{0, 1})) // [Bn, G, W, N]

	// From chunk to chunk: the state before chunk i is decay_i0 h + Σ_{0<m<=i} decay_im a_m,
	// with h the first state and a_m what chunk m-1 adds.
	between := TransposeAllDims(Reshape(total, B, n, G, J), 0, 2, 3, 1) // [B, G, J, n]
	decay := decays(prefixSums(padFront(between)))                      // [B, G, J, n+1, n+1]
	states := DotGeneral(part(decay, 1, n+1), []int{4}, []int{0, 1, 2}, Reshape(added, B, n, G, J, P*N), []int{1}, []int{0, 2, 3})
	states = Add(states, Mul(part(decay, 0, 1), Reshape(h, B, G, J, 1, P*N)))        // [B, G, J, n+1, PN]
	states = TransposeAllDims(Reshape(states, B, G, J, n+1, P, N), 0, 3, 1, 2, 4, 5) // [B, n+1, G, J, P, N]
	entering := Reshape(Slice(states, AxisRange(), AxisRange(0, n)), B*n, G, W, N)
	last = Reshape(Slice(states, AxisRange(), AxisRange(n)), B, G, W, N)

	carried := widen(c.dot(Ct, []int{3}, []int{0, 1}, like(entering), []int{3}, []int{0, 1})) // [Bn, G, Q, W]
	carried = TransposeAllDims(Reshape(carried, B*n, G, Q, J, P), 0, 1, 3, 2, 4)              // [Bn, G, J, Q, P]
	out := Add(inside, Mul(carried, ExpandAxes(Exp(sum), 4)))                                 // [Bn, G, J, Q, P]
	y = Reshape(TransposeAllDims(out, 0, 3, 1, 2, 4), B, n*Q, H*P)                            // [B, nQ, di]
	return Slice(y, AxisRange(), AxisRange(0, T)), last
}

// prefixSums returns x_0 + … + x_i along the last axis.
func prefixSums(x *Node) *Node {
	n := x.Shape().Dimensions[x.Rank()-1]
	lower := ConvertDType(LowerTriangular(x.Graph(), n), dtypes.Float32) // [n, n], i >= j
	return DotGeneral(x, []int{x.Rank() - 1}, nil, lower, []int{1}, nil)
}

// decays returns exp(sum_i - sum_j) for i >= j and 0 elsewhere: how far what was
// added at j has decayed at i. sum: [..., n]. Returns [..., n, n].
func decays(sum *Node) *Node {
	g, axis := sum.Graph(), sum.Rank()
	n := sum.Shape().Dimensions[axis-1]
	gap := Sub(ExpandAxes(sum, axis), ExpandAxes(sum, axis-1))
	ones := make([]int, axis+1)
	for i := range ones {
		ones[i] = 1
	}
	ones[axis-1], ones[axis] = n, n
	lower := BroadcastToDims(Reshape(LowerTriangular(g, n), ones...), gap.Shape().Dimensions...)
	return Exp(Where(lower, gap, FillScalar(g, gap.Shape(), -1e30)))
}

// padFront puts a zero before the last axis.
func padFront(x *Node) *Node {
	dims := append([]int{}, x.Shape().Dimensions...)
	dims[x.Rank()-1] = 1
	return Concatenate([]*Node{Zeros(x.Graph(), shapes.Make(x.DType(), dims...)), x}, x.Rank()-1)
}

// batchDot is DotGeneral in the type of its operands, gradient included.
func batchDot(lhs *Node, lhsContract, lhsBatch []int, rhs *Node, rhsContract, rhsBatch []int) *Node {
	if lhs.DType() == dtypes.BFloat16 {
		return DotNarrow(lhs, lhsContract, lhsBatch, rhs, rhsContract, rhsBatch)
	}
	return DotGeneral(lhs, lhsContract, lhsBatch, rhs, rhsContract, rhsBatch)
}

// padTime appends zeros to axis 1 of x until it has T entries: with dA = 0 and
// dx = 0 they leave the state as it is.
func padTime(x *Node, T int) *Node {
	dims := append([]int{}, x.Shape().Dimensions...)
	if dims[1] == T {
		return x
	}
	dims[1] = T - dims[1]
	return Concatenate([]*Node{x, Zeros(x.Graph(), shapes.Make(x.DType(), dims...))}, 1)
}
