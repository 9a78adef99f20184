package router

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Learner are the router's tensors as nodes of a training graph.
type Learner struct {
	Embeddings *Node // W_R [V, Dim]
	Proj       *Node // W_z [E, len(HalfLives)*Dim]
	Bias       *Node // b [E]; it has no gradient, see the balance bias of package trainer
}

// Decisions are the decisions of a batch in a training graph, one for each of n
// chunks. That of chunk 0, which has no past, is the default encoders; its logits and
// scores are zero.
type Decisions struct {
	Logits *Node // z [B, n, E]
	Scores *Node // s = sigmoid(z) [B, n, E]
	Slots  *Node // [B, n, k, E], one-hot: the encoder in each slot; no gradient
	Gates  *Node // [B, n, k], sum 1
}

// teacher is added to what ranks a prescribed encoder, so that it always runs.
const teacher = 16

// Learn makes the plan that [Router.Plan] makes for each text of a batch, as a graph
// in f32: scores and gates have gradients, the choice has none. It differs from
// Plan only where values are closer than rounding. Granularity is by chunk or by
// token.
//
// ids: [B, T] int32, T a multiple of the chunk. prescribed: [B, E], 1 where an encoder
// shall run from chunk 1 on whatever its score, or nil.
func (c Config) Learn(w Learner, ids, prescribed *Node) Decisions {
	g := ids.Graph()
	B, T, E, k, C := ids.Shape().Dimensions[0], ids.Shape().Dimensions[1], c.NumEncoders, c.EncodersPerToken, c.NextDecision(0)
	n := T / C
	z := c.logits(w, ids, n)                                          // [B, n-1, E]
	values := StopGradient(Add(Sigmoid(z), Reshape(w.Bias, 1, 1, E))) // [B, n-1, E]
	if prescribed != nil {
		values = Add(values, MulScalar(Reshape(prescribed, B, 1, E), teacher))
	}
	slots := make([]*Node, n) // [B, 1, k, E]
	now := BroadcastToDims(Reshape(OneHot(Const(g, int32s(c.DefaultEncoders)), E, dtypes.Float32), 1, k, E), B, k, E)
	for j := range n {
		if j > 0 {
			now = c.next(now, Reshape(Slice(values, AxisRange(), AxisRange(j-1, j)), B, E))
		}
		slots[j] = Reshape(now, B, 1, k, E)
	}
	d := Decisions{Slots: StopGradient(Concatenate(slots, 1))}
	zero := func(dims ...int) *Node { return BroadcastToDims(ScalarZero(g, dtypes.Float32), dims...) }
	d.Logits = Concatenate([]*Node{zero(B, 1, E), z}, 1)
	d.Scores = Concatenate([]*Node{zero(B, 1, E), Sigmoid(z)}, 1)
	chosen := ReduceSum(Mul(d.Slots, ExpandAxes(d.Scores, 2)), 3) // [B, n, k]
	first := AddScalar(zero(B, 1, k), 1/float64(k))               // equal gates
	rest := Slice(chosen, AxisRange(), AxisRange(1))              // [B, n-1, k]
	total := MaxScalar(ReduceAndKeep(rest, ReduceSum, -1), math.SmallestNonzeroFloat32)
	d.Gates = Concatenate([]*Node{first, Div(rest, total)}, 1)
	return d
}

// logits returns z at the decisions 1 to n-1: [B, n-1, E].
//
// The leaky average at decision j is a sum over the tokens of earlier chunks, which
// is two products: with λ^(C-1-i) within a chunk, and with λ^(C(j-1-i)) from chunk to
// chunk, divided by the mass of jC tokens.
func (c Config) logits(w Learner, ids *Node, n int) *Node {
	g, B, D, M, C := ids.Graph(), ids.Shape().Dimensions[0], c.Dim, len(c.HalfLives), c.NextDecision(0)
	within, between := make([][]float32, C), make([][][]float32, M)
	for i := range within {
		within[i] = make([]float32, M)
		for m, h := range c.HalfLives {
			within[i][m] = float32(mass(1, h) * math.Exp2(-float64(C-1-i)/h))
		}
	}
	for m, h := range c.HalfLives {
		between[m] = make([][]float32, n-1)
		for j := range between[m] {
			between[m][j] = make([]float32, n-1)
			for i := range j + 1 {
				between[m][j][i] = float32(math.Exp2(-float64(C*(j-i))/h) / mass((j+1)*C, h))
			}
		}
	}
	past := Slice(ids, AxisRange(), AxisRange(0, (n-1)*C))
	rows := Reshape(Gather(w.Embeddings, Reshape(past, B*(n-1)*C, 1)), B, n-1, C, D)
	local := DotGeneral(rows, []int{2}, nil, Const(g, within), []int{0}, nil)                // [B, n-1, D, M]
	averages := DotGeneral(Const(g, between), []int{2}, []int{0}, local, []int{1}, []int{3}) // [M, n-1, B, D]
	rho := Reshape(TransposeAllDims(averages, 2, 1, 0, 3), B*(n-1), M*D)
	square := ReduceAndKeep(Square(rho), ReduceMean, -1)
	rho = Div(rho, Sqrt(MaxScalar(square, 1e-30)))
	z := DotGeneral(rho, []int{1}, nil, w.Proj, []int{1}, nil)
	return Reshape(DivScalar(z, c.Temperature), B, n-1, c.NumEncoders)
}

// next chooses the encoders that follow those in the slots, as gate.choose does: the
// k best when incumbents count δ more, survivors in their slots, newcomers in the
// freed ones in the order of their value.
//
// slots: [B, k, E] one-hot; values: [B, E]. Returns [B, k, E].
func (c Config) next(slots, values *Node) *Node {
	B, E, k := values.Shape().Dimensions[0], c.NumEncoders, c.EncodersPerToken
	number := func(x *Node) *Node { return ConvertDType(x, dtypes.Float32) }
	incumbent := ReduceSum(slots, 1)                                 // [B, E]
	ranked := Add(values, MulScalar(incumbent, c.Hysteresis))        // [B, E]
	one, other := Reshape(ranked, B, E, 1), Reshape(ranked, B, 1, E) // one beats other
	earlier := BroadcastToDims(Reshape(LogicalNot(LowerTriangular(values.Graph(), E)), 1, E, E), B, E, E)
	beats := number(LogicalOr(GreaterThan(one, other), LogicalAnd(Equal(one, other), earlier))) // [B, E, E]
	chosen := number(LessThan(ReduceSum(beats, 1), Const(values.Graph(), float32(k))))          // [B, E]

	kept := ReduceAndKeep(Mul(slots, Reshape(chosen, B, 1, E)), ReduceSum, -1) // [B, k, 1]
	freed := OneMinus(kept)
	newcomer := Mul(chosen, OneMinus(incumbent))                  // [B, E]
	place := ReduceSum(Mul(beats, Reshape(newcomer, B, E, 1)), 1) // [B, E], newcomers before it
	slot := DotGeneral(Reshape(freed, B, k), []int{1}, nil, number(LogicalNot(LowerTriangular(values.Graph(), k))), []int{0}, nil)
	fills := number(Equal(Reshape(place, B, 1, E), Reshape(slot, B, k, 1))) // [B, k, E]
	return Add(Mul(slots, kept), Mul(freed, Mul(fills, Reshape(newcomer, B, 1, E))))
}

func int32s(x []int) []int32 {
	out := make([]int32, len(x))
	for i, v := range x {
		out[i] = int32(v)
	}
	return out
}
