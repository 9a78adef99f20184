package swarm

import (
	"math"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// aggregate fuses the slots' outputs token by token:
//
//	alpha = softmax_i((W_q n(x))·(W_k n(u_i))/sqrt(dim) + log g_i + beta_i + w_s·n(u_i))
//	o     = Σ alpha_i u_i
//
// with n the RMS normalisation without a weight. The mix is convex: equal inputs
// pass through unchanged, and one slot is the identity.
//
// x: [B, T, d], the embeddings; slots: k × [B, T, d]; routing: [T, k] for all texts
// or [B, T, k]. Returns [B, T, d] and alpha [B, T, k]; that of one slot is nil.
func (c Config) aggregate(core mamba.Weights, x *Node, slots []*Node, routing Routing) (fused, alpha *Node) {
	if len(slots) == 1 {
		return slots[0], nil
	}
	query, key := core("aggregator.q.weight"), core("aggregator.k.weight") // [dim, d]
	quality := core("aggregator.quality.weight")                           // [1, d]
	B, T, d := x.Shape().Dimensions[0], x.Shape().Dimensions[1], c.Base.DModel
	k := len(slots)

	stacked := Stack(slots, 2)                           // [B, T, k, d]
	n := Reshape(c.Base.RMSNormalize(stacked), B*T*k, d) // [BTk, d]
	project := func(rows, weight *Node) *Node { return DotGeneral(rows, []int{1}, nil, weight, []int{1}, nil) }
	q := project(Reshape(c.Base.RMSNormalize(x), B*T, d), query) // [BT, dim]
	keys := Reshape(project(n, key), B*T, k, c.AggregatorDim)    // [BT, k, dim]
	score := DotGeneral(q, []int{1}, []int{0}, keys, []int{2}, []int{0})
	score = MulScalar(score, 1/math.Sqrt(float64(c.AggregatorDim))) // [BT, k]
	score = Add(score, Reshape(project(n, Reshape(quality, 1, d)), B*T, k))

	prior := Add(Log(MaxScalar(routing.Gates, minGate)), routing.Quality) // [T, k] or [B, T, k]
	if prior.Rank() == 2 {
		prior = BroadcastPrefix(prior, B)
	}
	alpha = Softmax(Add(score, Reshape(prior, B*T, k)), -1) // [BT, k]
	fused = ReduceSum(Mul(stacked, Reshape(alpha, B, T, k, 1)), 2)
	return fused, Reshape(alpha, B, T, k)
}

// minGate keeps the logarithm of a gate finite in f32.
const minGate = 1e-30
