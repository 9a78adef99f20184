package mamba

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// CrossEntropy returns the loss -log softmax(logits)[target] in nats, and how far the
// target's logit is behind the highest, 0 where nothing is likelier.
// logits: [..., V] f32; target: [...] int32. Returns two of the shape of target.
func CrossEntropy(logits, target *Node) (loss, behind *Node) {
	shifted := Sub(logits, StopGradient(ReduceAndKeep(logits, ReduceMax, -1)))
	d := logits.Shape().Dimensions
	is := Equal(Iota(logits.Graph(), shapes.Make(dtypes.Int32, d...), len(d)-1), ExpandAxes(target, len(d)-1))
	behind = ReduceSum(Where(is, shifted, ZerosLike(shifted)), -1)
	return Sub(Log(ReduceSum(Exp(shifted), -1)), behind), behind
}
