package mamba

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/internal/kernel"
)

// Scan names a way to compute Mamba-1's recurrence; all give the same values.
type Scan int

// The forms of the scan.
const (
	ScanDefault     Scan = iota // chosen by back end
	ScanSequential              // a loop over time: least work, no gradient
	ScanChunked                 // a loop over chunks that are computed in parallel: no gradient
	ScanAssociative             // the same without a loop: a larger graph, differentiable
)

// scanChunk is the length of the pieces that are computed in parallel, at log2 of it
// times the work.
const scanChunk = 64

// selectiveScan computes h_t = exp(delta_t A)·h_{t-1} + B_t·(delta x)_t and
// y_t = C_t·h_t for every t (Gu & Dao 2023, eq. 2).
//
// h: [B, N, di]; delta, dx: [B, T, di]; A: [N, di]; Bt, Ct: [B, T, N].
// Returns y [B, T, di] and the last h.
func (c Config) selectiveScan(h, delta, dx, A, Bt, Ct *Node) (y, last *Node) {
	T := delta.Shape().Dimensions[1]
	if c.hasKernel(h) && A.Shape().Dimensions[0] <= kernel.MaxStates {
		return scanKernel(h, delta, dx, A, Bt, Ct)
	}
	if T == 1 {
		return scanStep(h, delta, dx, A, Bt, Ct)
	}
	form := c.ScanForm
	if form == ScanDefault {
		form = defaultScan(h.Graph().Backend())
	}
	switch form {
	case ScanSequential:
		return scanLoop(h, delta, dx, A, Bt, Ct, 1)
	case ScanChunked:
		return scanLoop(h, delta, dx, A, Bt, Ct, min(scanChunk, T))
	}
	var ys []*Node
	for t := 0; t < T; t += scanChunk {
		cut := func(x *Node) *Node { return Slice(x, AxisRange(), AxisRange(t, min(t+scanChunk, T))) }
		var yc *Node
		yc, h = scanParallel(h, cut(delta), cut(dx), A, cut(Bt), cut(Ct))
		ys = append(ys, yc)
	}
	return Concatenate(ys, 1), h
}

// scanStep is selectiveScan for T = 1.
func scanStep(h, delta, dx, A, Bt, Ct *Node) (y, last *Node) {
	B, di, N := h.Shape().Dimensions[0], h.Shape().Dimensions[2], h.Shape().Dimensions[1]
	h = Add(Mul(Exp(Mul(delta, Reshape(A, 1, N, di))), h), Mul(Reshape(Bt, B, N, 1), dx)) // [B, N, di]
	return DotGeneral(Ct, []int{2}, []int{0}, h, []int{1}, []int{0}), h                   // [B, 1, di]
}

// scanLoop is selectiveScan as a loop over pieces of q tokens.
func scanLoop(h, delta, dx, A, Bt, Ct *Node, q int) (y, last *Node) {
	g := h.Graph()
	B, di := h.Shape().Dimensions[0], h.Shape().Dimensions[2]
	T := delta.Shape().Dimensions[1]
	end := (T + q - 1) / q * q
	timeMajor := func(x *Node) *Node { return TransposeAllDims(padTime(x, end), 1, 0, 2) } // [end, B, n]
	state := []*Node{
		Const(g, int32(0)), h, Zeros(g, shapes.Make(dtypes.Float32, end, B, di)),
		timeMajor(delta), timeMajor(dx), A, timeMajor(Bt), timeMajor(Ct),
	}
	inside := func(p []*Node) *Node { return LessThan(p[0], Const(p[0].Graph(), int32(T))) }
	out := Loop(state, inside, func(p []*Node) []*Node {
		t, h, y, delta, dx, A, Bt, Ct := p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
		piece := func(x *Node) *Node { return TransposeAllDims(SliceAt(x, 0, t, q), 1, 0, 2) } // [B, q, n]
		scan := scanParallel
		if q == 1 {
			scan = scanStep
		}
		yt, h := scan(h, piece(delta), piece(dx), A, piece(Bt), piece(Ct))
		y = SetRows(y, TransposeAllDims(yt, 1, 0, 2), t)
		return []*Node{Add(t, Const(t.Graph(), int32(q))), h, y, delta, dx, A, Bt, Ct}
	})
	return Slice(TransposeAllDims(out[2], 1, 0, 2), AxisRange(), AxisRange(0, T)), out[1]
}

// scanParallel is selectiveScan as a Hillis-Steele scan over pairs (a, b) of
// h -> a·h + b: log2(T) rounds of elementwise work over [B, T, N, di].
func scanParallel(h, delta, dx, A, Bt, Ct *Node) (y, last *Node) {
	B, N, di := h.Shape().Dimensions[0], h.Shape().Dimensions[1], h.Shape().Dimensions[2]
	T := delta.Shape().Dimensions[1]
	a := Exp(Mul(Reshape(A, 1, 1, N, di), Reshape(delta, B, T, 1, di))) // [B, T, N, di]
	b := Mul(Reshape(Bt, B, T, N, 1), Reshape(dx, B, T, 1, di))         // [B, T, N, di]
	from := func(x *Node, t int) *Node { return Slice(x, AxisRange(), AxisRange(t)) }
	to := func(x *Node, t int) *Node { return Slice(x, AxisRange(), AxisRange(0, t)) }
	for s := 1; s < T; s *= 2 {
		late := from(a, s)
		b = Concatenate([]*Node{to(b, s), Add(from(b, s), Mul(late, to(b, T-s)))}, 1)
		a = Concatenate([]*Node{to(a, s), Mul(late, to(a, T-s))}, 1)
	}
	hs := Add(b, Mul(a, Reshape(h, B, 1, N, di)))                        // [B, T, N, di]
	y = DotGeneral(Ct, []int{2}, []int{0, 1}, hs, []int{2}, []int{0, 1}) // [B, T, di]
	return y, Reshape(from(hs, T-1), B, N, di)
}
