package swarm

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// draw builds the steps of a Draw one after another. Outputs: ids [n], logprobs [n],
// the state of the random numbers, and the model's states.
func (b *graphBuilder) draw() []*Node {
	m, le, V := b.m, b.m.cfg.NumEncoderLayers, b.m.cfg.Base.VocabSize
	temperature := b.in.add(inputTemperature, shapes.Make(dtypes.Float32))
	rng, noise := RandomUniform(b.in.add(inputRNG, RNGStateShape), shapes.Make(dtypes.Float32, drawLength, V))
	noise = Mul(temperature, Neg(Log(Neg(Log(MaxScalar(noise, 1e-20)))))) // [n, V], Gumbel
	ids, routing, bank := b.encoderParts(m.cfg.Slots())
	encoders, decoder := b.states(0, le), b.states(le, m.cfg.Base.NLayer)
	drawn, logprobs := make([]*Node, drawLength), make([]*Node, drawLength)
	for i := range drawLength {
		var x *Node
		x, encoders = m.cfg.Encode(b.core, bank, ids, routing, encoders, b.span)
		x, decoder = m.cfg.Decode(b.core, x, decoder, b.span)
		logits := b.finish(x, lastLogits) // [1, V]
		best := ArgMax(Add(logits, Slice(noise, AxisRange(i, i+1))), -1, dtypes.Int32)
		ids = Reshape(best, 1, 1)
		drawn[i] = Reshape(best, 1)
		chosen := Gather(Reshape(LogSoftmax(logits), V, 1), ids) // [1, 1]
		logprobs[i] = Reshape(chosen, 1)
	}
	out := []*Node{Concatenate(drawn, 0), Concatenate(logprobs, 0), rng}
	return append(out, stateNodes(append(encoders, decoder...))...)
}

// stateNodes lists states as a program returns them.
func stateNodes(states []mamba.State) []*Node {
	var out []*Node
	for _, s := range states {
		out = append(out, s.Conv, s.SSM)
	}
	return out
}
