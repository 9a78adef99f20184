package swarm

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// buckets are the lengths of the graphs that run over several tokens, ascending.
var buckets = []int{16, 64, 256, 512, 2048}

// output says what a program returns beside the states.
type output int

const (
	lastLogits    output = iota // logits [1, V] of the last token
	allLogits                   // logits [T, V]
	hiddenStates                // [T, d] after the final norm
	mergeEncoders               // none: the program of encoder_fusion weights
)

// programKey identifies a compiled graph of a model.
type programKey struct {
	tokens int
	output output
}

// pending is a program that is compiled or being compiled.
type pending struct {
	done    chan struct{}
	program *program
	err     error
}

// bucket returns the length of the graph that runs the first of n tokens: the
// shortest that takes all of them where that wastes less than half of it, else the
// longest that they fill.
func bucket(n int) int {
	if n == 1 {
		return 1
	}
	for i, b := range buckets {
		switch {
		case n > b:
			continue
		case i > 0 && 2*n <= b:
			return buckets[i-1]
		}
		return b
	}
	return buckets[len(buckets)-1]
}

// Warm starts to compile the graphs for a prompt of this many tokens and for
// decoding, in the background.
func (m *Model) Warm(promptTokens int) {
	for _, n := range []int{1, promptTokens} {
		if n > 0 {
			go func() { _, _ = m.program(programKey{bucket(n), lastLogits}) }() // an error comes back on use
		}
	}
}

// program returns the graph for a number of tokens, compiling it on first use.
func (m *Model) program(key programKey) (*program, error) {
	return m.programFor(key, func() (*program, error) { return m.build(key) })
}

// programFor returns the program with this key, built on first use.
func (m *Model) programFor(key programKey, build func() (*program, error)) (*program, error) {
	m.mu.Lock()
	p, ok := m.programs[key]
	if !ok {
		p = &pending{done: make(chan struct{})}
		m.programs[key] = p
	}
	m.mu.Unlock()
	if !ok {
		p.program, p.err = build()
		close(p.done)
	}
	<-p.done
	return p.program, p.err
}

// Names of the inputs that are no weights.
const (
	inputIDs     = "ids"     // [1, T]
	inputLength  = "length"  // scalar
	inputGates   = "gates"   // [T, k]
	inputQuality = "quality" // [k]
	inputKeep    = "keep"    // [k]
)

func stateName(i int) string        { return fmt.Sprintf("state.%d", i) }
func slotPrefix(s int) string       { return fmt.Sprintf("slot.%d.", s) }
func (m *Model) resetsOnSwap() bool { return m.cfg.EncoderState == Reset && !m.cfg.Plain() }
func (m *Model) fusesOutputs() bool { return !m.cfg.Plain() && m.cfg.Fusion != FuseWeights }

// stateShapes lists the shapes of all state buffers: conv and ssm of each layer.
func (m *Model) stateShapes() []shapes.Shape {
	var all []shapes.Shape
	for l := range m.cfg.Base.NLayer {
		batch := 1
		if l < m.cfg.NumEncoderLayers {
			batch = m.cfg.Slots()
		}
		conv, ssm := m.cfg.Base.StateShapes(batch)
		all = append(all, conv, ssm)
	}
	return all
}

// build compiles the graph for key: one sequence, inputs as named above, outputs
// the logits or hidden states and then the states.
func (m *Model) build(key programKey) (*program, error) {
	T := key.tokens
	encoder := map[string]shapes.Shape{}
	if !m.cfg.Plain() {
		encoder = m.cfg.encoderShapes(m.encoderPrecision())
	}
	shape := func(name string) (shapes.Shape, bool) {
		if s, ok := m.core.shape(name); ok {
			return s, true
		}
		for s := range m.cfg.Slots() {
			if prefix := slotPrefix(s); len(name) > len(prefix) && name[:len(prefix)] == prefix {
				sh, ok := encoder[name[len(prefix):]]
				return sh, ok
			}
		}
		return shapes.Shape{}, false
	}
	return compile(m.backend, fmt.Sprintf("%s-%d-tokens", m.cfg.Base.Kind, T), shape, func(in *inputs) []*Node {
		ids := in.add(inputIDs, shapes.Make(dtypes.Int32, 1, T))
		span, last := mamba.Span{}, (*Node)(nil)
		if T > 1 {
			span.Length = in.add(inputLength, shapes.Make(dtypes.Int32))
			span.Mask = ConvertDType(LessThan(Iota(in.g, shapes.Make(dtypes.Int32, 1, T), 1), span.Length), dtypes.Float32)
			last = Sub(span.Length, Const(in.g, int32(1)))
		}
		var routing Routing
		if m.fusesOutputs() {
			k := m.cfg.Slots()
			routing.Gates = in.add(inputGates, shapes.Make(dtypes.Float32, T, k))
			routing.Quality = in.add(inputQuality, shapes.Make(dtypes.Float32, k))
		}
		if m.resetsOnSwap() {
			routing.Keep = in.add(inputKeep, shapes.Make(dtypes.Float32, m.cfg.Slots()))
		}
		layers := make([]mamba.State, m.cfg.Base.NLayer)
		for i, shape := range m.stateShapes() {
			n := in.add(stateName(i), shape)
			if i%2 == 0 {
				layers[i/2].Conv = n
			} else {
				layers[i/2].SSM = n
			}
		}
		le := m.cfg.NumEncoderLayers
		core := mamba.Weights(in.get).In("backbone.")
		bank := make([]mamba.Weights, m.cfg.Slots())
		for s := range bank {
			bank[s] = mamba.Weights(in.get).In(slotPrefix(s))
		}
		x, next := m.cfg.Forward(core, bank, ids, routing, States{layers[:le], layers[le:]}, span)
		x = Reshape(x, T, m.cfg.Base.DModel)
		if key.output == lastLogits && T > 1 {
			x = Reshape(Gather(x, Reshape(last, 1, 1)), 1, m.cfg.Base.DModel)
		}
		var out []*Node
		if key.output == hiddenStates {
			out = append(out, mamba.RMSNorm(x, core("norm_f.weight"), m.cfg.Base.NormEps))
		} else {
			out = append(out, m.cfg.Base.Head(core, m.head(in), x))
		}
		for _, s := range append(next.Encoders, next.Decoder...) {
			out = append(out, s.Conv, s.SSM)
		}
		return out
	})
}

// head returns the weights of the LM head: its own matrix, or the embedding.
func (m *Model) head(in *inputs) mamba.Weights {
	if _, own := m.core.shapes[headName]; own {
		return in.get
	}
	return func(string) *Node { return in.get("backbone.embeddings.weight") }
}

// encoderShapes lists an encoder's tensors as a slot names them.
func (c Config) encoderShapes(p Precision) map[string]shapes.Shape {
	out := map[string]shapes.Shape{}
	prefix := len(LayerTensor(0, 0, "")) - len("layers.0.")
	for _, spec := range c.EncoderTensors(0) {
		name := spec.Name[prefix:]
		out[name] = shapes.Make(p.Stored(name), spec.Shape...)
		if p.Stored(name) == dtypes.Int8 {
			out[scaleName(name)] = shapes.Make(dtypes.Float32, spec.Shape[0], 1)
		}
	}
	return out
}

// zeroStates makes the state buffers before the first token.
func (m *Model) zeroStates() ([]compute.Buffer, error) {
	var all []compute.Buffer
	for _, shape := range m.stateShapes() {
		b, err := m.backend.BufferFromFlatData(0, make([]float32, shape.Size()), shape)
		if err != nil {
			finalize(all...)
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}
