package swarm

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// draw builds a Draw as a loop over its tokens. In a loop each token runs the same
// kernels on the same addresses, which XLA hands to a GPU once for all of them; that
// costs the host several times what the GPU needs to run them. Outputs: ids [n],
// logprobs [n], the state of the random numbers, and the model's states.
func (b *graphBuilder) draw() []*Node {
	m, V := b.m, b.m.cfg.Base.VocabSize
	temperature := b.in.add(inputTemperature, shapes.Make(dtypes.Float32))
	rng, noise := RandomUniform(b.in.add(inputRNG, RNGStateShape), shapes.Make(dtypes.Float32, drawLength, V))
	noise = Mul(temperature, Neg(Log(Neg(Log(MaxScalar(noise, 1e-20)))))) // [n, V], Gumbel

	own := len(b.in.g.Names()) // what the steps do not read
	b.encoderParts(m.cfg.Slots())
	for _, name := range m.weightNames() {
		b.in.get(name)
	}
	constant := slices.DeleteFunc(b.in.g.Names()[own:], func(name string) bool { return name == inputIDs })

	zeros := func(t dtypes.DType) *Node {
		return ConvertDType(Iota(b.in.g.Graph, shapes.Make(dtypes.Int32, drawLength, 1), 1), t)
	}
	state := []*Node{
		Const(b.in.g.Graph, int32(0)), b.in.get(inputIDs), // step, the token to read
		zeros(dtypes.Int32), zeros(dtypes.Float32), // [n, 1], tokens drawn and their logprobs
		noise,
	}
	from := len(state)
	state = append(state, stackStates(b.states(0, m.cfg.Base.NLayer))...)
	to := len(state)
	for _, name := range constant {
		state = append(state, b.in.get(name))
	}
	more := func(p []*Node) *Node { return LessThan(p[0], Const(p[0].Graph(), int32(drawLength))) }
	out := mamba.Loop(state, more, func(p []*Node) []*Node {
		nodes := map[string]*Node{inputIDs: p[1]}
		for i, name := range constant {
			nodes[name] = p[to+i]
		}
		step, drawn, logprobs, noise := p[0], p[2], p[3], p[4]
		best, logprob, after := b.drawStep(nodes, mamba.SliceAt(noise, 0, step, 1), unstackStates(p[from:to]))
		next := []*Node{Add(step, Const(b.in.g.Graph, int32(1))), best, mamba.SetRows(drawn, best, step), mamba.SetRows(logprobs, logprob, step), noise}
		return append(append(next, stackStates(after)...), p[to:]...)
	})
	after := stateNodes(unstackStates(out[from:to]))
	return append([]*Node{Reshape(out[2], drawLength), Reshape(out[3], drawLength), rng}, after...)
}

// stackStates lists states for a loop: those of all convolutions in one tensor, each
// of which is so small that moving it costs a kernel's start, and then those of the
// state spaces.
func stackStates(states []mamba.State) []*Node {
	convs, out := make([]*Node, len(states)), make([]*Node, 1, len(states)+1)
	for l, s := range states {
		convs[l] = s.Conv
		out = append(out, s.SSM)
	}
	out[0] = Concatenate(convs, 0)
	return out
}

// unstackStates takes apart what stackStates lists.
func unstackStates(stacked []*Node) []mamba.State {
	states, row := make([]mamba.State, len(stacked)-1), 0
	for l, ssm := range stacked[1:] {
		rows := ssm.Shape().Dimensions[0]
		states[l] = mamba.State{Conv: Slice(stacked[0], AxisRange(row, row+rows)), SSM: ssm}
		row += rows
	}
	return states
}

// drawStep reads one token and draws the next. nodes are the token and the constant
// inputs by name; noise: [1, V]. Returns the token and its logprob, both [1, 1], and
// the states after it.
func (b *graphBuilder) drawStep(nodes map[string]*Node, noise *Node, states []mamba.State) (best, logprob *Node, next []mamba.State) {
	in := &inputs{g: b.in.g, shape: b.in.shape, given: nodes}
	m, le := b.m, b.m.cfg.NumEncoderLayers
	step := &graphBuilder{m: m, in: in, T: 1, core: mamba.Weights(in.get).In("backbone.")}
	routing := Routing{Gates: nodes[inputGates], Quality: nodes[inputQuality]}
	x, encoders := m.cfg.Encode(step.core, step.bank(m.cfg.Slots()), nodes[inputIDs], routing, states[:le], step.span)
	x, decoder := m.cfg.Decode(step.core, x, states[le:], step.span)
	logits := step.finish(x, lastLogits) // [1, V]
	best = Reshape(ArgMax(Add(logits, noise), -1, dtypes.Int32), 1, 1)
	logprob = mamba.SliceAt(LogSoftmax(logits), 1, Reshape(best), 1)
	return best, logprob, append(encoders, decoder...)
}

// weightNames lists the tensors that decoding reads, by the names that graphs use.
func (m *Model) weightNames() []string {
	var names []string
	for name := range m.core.shapes {
		names = append(names, name)
	}
	for u := range m.cfg.Slots() {
		for name := range m.encoder {
			names = append(names, bankPrefix(u)+name)
		}
	}
	slices.Sort(names)
	return names
}

// stateNodes lists states as a program returns them.
func stateNodes(states []mamba.State) []*Node {
	var out []*Node
	for _, s := range states {
		out = append(out, s.Conv, s.SSM)
	}
	return out
}
