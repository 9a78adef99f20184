package trainer

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/mamba-encoder-swarm/mes/internal/program"
)

// compileUpdate takes the mean of the gradients in g/ over some batches and clears them.
func (l *learner) compileUpdate() (*named, error) {
	scalar := shapes.Make(dtypes.Float32)
	var in []program.Input
	for _, name := range []string{"lr", "mean", "count"} {
		in = append(in, program.Input{Name: name, Shape: scalar, Donate: true})
	}
	in = append(in, program.Input{Name: "awake", Shape: shapes.Make(dtypes.Float32, len(l.owned)), Donate: true})
	in = append(in, l.prefixed("p/", l.trainable, true)...)
	in = append(in, l.prefixed("m/", l.optimized, true)...)
	in = append(in, l.prefixed("v/", l.optimized, true)...)
	in = append(in, l.prefixed("g/", l.trainable, true)...)
	return l.compile("update", in, func(in func(name string) *Node, out *outputs) {
		grads := make([]*Node, len(l.trainable))
		for i, name := range l.trainable {
			grads[i] = Mul(in("g/"+name), in("mean"))
			if stacked(name) {
				grads[i] = byRow(grads[i], in("awake"))
			}
		}
		adam := l.Optimizer.begin(grads, in("count"))
		step := func(name string, grad *Node) *Node {
			step, m, v := adam.step(grad, in("m/"+name), in("v/"+name))
			out.add("m/"+name, m)
			out.add("v/"+name, v)
			return step
		}
		var parts, encoders *Node // [G, E] and [E, G]
		if len(l.Common) > 0 {
			parts = l.membership(adam.norm.Graph())
			encoders = Transpose(parts, 0, 1)
		}
		for i, name := range l.trainable {
			p, down := in("p/"+name), step(name, grads[i])
			if decays(name) {
				down = Add(down, scaled(p, l.valued(name, l.Decay, l.Optimizer.WeightDecay)))
			}
			down = scaled(down, l.valued(name, l.Pace, 1))
			if stacked(name) && len(l.Common) > 0 {
				together := scaled(step(inCommon+name, mixed(parts, grads[i])), l.paces())
				down = Add(down, mixed(encoders, together))
			}
			if stacked(name) {
				down = byRow(down, in("awake"))
			}
			out.add("p/"+name, adam.keep(Sub(p, Mul(in("lr"), down)), p))
			out.add("g/"+name, ZerosLike(p))
		}
		out.add("count", adam.count)
		out.add("norm", adam.norm)
	})
}
