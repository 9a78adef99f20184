package swarm

import (
	"fmt"
	"maps"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// buckets are the lengths of the graphs that run over several tokens, ascending.
var buckets = []int{16, 64, 256, 512, 2048}

// longestOnCPU is the longest of them that pays on a CPU, whose caches a longer
// piece leaves.
const longestOnCPU = 512

// stage says which part of the model a program runs.
type stage int

const (
	wholeStage   stage = iota // ids to output: plain models, and single tokens
	encoderStage              // ids to hidden states [1, T, d]
	decoderStage              // hidden states [1, T, d] to output, whatever the slots
	drawStage                 // a token to several drawn ones
	batchStage                // ids of several texts to output
)

// output says what a program returns beside the states.
type output int

const (
	lastLogits    output = iota // logits [1, V] of the last token
	allLogits                   // logits [T, V]
	hiddenStates                // [T, d] after the final norm
	likelihoods                 // [T, 2], see judge
	mergeEncoders               // none: the program of encoder_fusion weights
)

// programKey identifies a compiled graph of a model.
type programKey struct {
	tokens int
	stage  stage
	output output // of the last stage
	banks  int    // of batchStage
}

// pending is a program that is compiled or being compiled.
type pending struct {
	done    chan struct{}
	program *compiled
	err     error
}

// bucket returns the length of the graph that runs the first of n tokens: the
// shortest that takes all of them where that wastes less than half of it, else the
// longest that they fill.
func (m *Model) bucket(n int) int {
	longest := buckets[0]
	for i, b := range buckets {
		if b > longestOnCPU && !m.onGPU {
			break
		}
		longest = b
		if n <= b {
			if i > 0 && 2*n <= b {
				return buckets[i-1]
			}
			return b
		}
	}
	return longest
}

// Warm starts to compile, in the background, the graphs for a prompt of this many
// tokens, and behind them the one for decoding, which is needed later.
func (m *Model) Warm(promptTokens int) {
	var keys []programKey
	if T := m.bucket(promptTokens); m.cfg.Plain() {
		keys = append(keys, programKey{tokens: T})
	} else {
		keys = append(keys, programKey{tokens: T, stage: encoderStage}, programKey{tokens: T, stage: decoderStage})
	}
	m.warming.Go(func() {
		for _, key := range append(keys, programKey{tokens: 1}) {
			_, _ = m.program(key) // an error comes back on use
		}
	})
}

// program returns the graph for a number of tokens, compiling it on first use.
func (m *Model) program(key programKey) (*compiled, error) {
	return m.programFor(key, func() (*compiled, error) { return m.build(key) })
}

// programFor returns the program with this key, built on first use.
func (m *Model) programFor(key programKey, build func() (*compiled, error)) (*compiled, error) {
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
	inputHidden  = "hidden"  // [1, T, d]
	inputLength  = "length"  // scalar
	inputGates   = "gates"   // [T, k]
	inputQuality = "quality" // [T, k]
	inputKeep    = "keep"    // [k]
	inputOrder   = "order"   // [M], see dispatch
	inputPlaces  = "places"  // [k·T]
	inputStarts  = "starts"  // [banks+1]
	inputTargets = "targets" // [T], what follows each token
)

func stateName(i int) string        { return fmt.Sprintf("state.%d", i) }
func bankPrefix(u int) string       { return fmt.Sprintf("bank.%d.", u) }
func (m *Model) resetsOnSwap() bool { return m.cfg.EncoderState == Reset && !m.cfg.Plain() }
func (m *Model) fusesOutputs() bool { return !m.cfg.Plain() && m.cfg.Fusion != FuseWeights }

// groups reports whether the encoder stage reads on while slots change their
// encoders. Where a change restarts the slot, or merges other weights, it ends the
// piece.
func (m *Model) groups() bool { return m.fusesOutputs() && !m.resetsOnSwap() }

// banks returns how many encoders a piece of several tokens may use: those of the
// first token and some that replace them.
func (m *Model) banks() int {
	if !m.groups() {
		return m.cfg.Slots()
	}
	return min(m.cfg.Router.NumEncoders, 3*m.cfg.Router.EncodersPerToken)
}

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
// what key.output says and then the states of the layers that ran.
func (m *Model) build(key programKey) (*compiled, error) {
	name := fmt.Sprintf("%s-%d-tokens", m.cfg.Base.Kind, key.tokens)
	return compile(m.backend, name, m.tensorShape, func(in *inputs) []*Node {
		b := &graphBuilder{m: m, in: in, T: key.tokens, core: mamba.Weights(in.get).In("backbone.")}
		switch key.stage {
		case drawStage:
			return b.draw()
		case batchStage:
			return b.batch(key.banks)
		}
		b.length()
		var x *Node
		var states []mamba.State
		if key.stage != decoderStage {
			x, states = b.encode()
		} else {
			x = in.add(inputHidden, shapes.Make(dtypes.Float32, 1, key.tokens, m.cfg.Base.DModel))
		}
		if key.stage != encoderStage {
			var decoder []mamba.State
			x, decoder = m.cfg.Decode(b.core, x, b.states(m.cfg.NumEncoderLayers, m.cfg.Base.NLayer), b.span)
			x, states = b.finish(x, key.output), append(states, decoder...)
		}
		return append([]*Node{x}, stateNodes(states)...)
	})
}

// tensorShape finds the shape of a weight by the name that graphs use.
func (m *Model) tensorShape(name string) (shapes.Shape, bool) {
	if s, ok := m.core.shape(name); ok {
		return s, true
	}
	if r := parseRef(name); r.bank >= 0 {
		s, ok := m.encoder[r.name]
		return s, ok
	}
	return shapes.Shape{}, false
}

// graphBuilder adds a program's parts to its graph.
type graphBuilder struct {
	m    *Model
	in   *inputs
	T    int
	core mamba.Weights
	span mamba.Span
}

// length adds the input that says how many of the T positions are tokens; a single
// one always is.
func (b *graphBuilder) length() {
	if b.T == 1 {
		return
	}
	b.span.Length = b.in.add(inputLength, shapes.Make(dtypes.Int32))
	positions := Iota(b.in.g.Graph, shapes.Make(dtypes.Int32, 1, b.T), 1)
	b.span.Mask = ConvertDType(LessThan(positions, b.span.Length), dtypes.Float32)
}

// states adds the states of layers [from, to) as inputs.
func (b *graphBuilder) states(from, to int) []mamba.State {
	all := b.m.stateShapes()
	states := make([]mamba.State, to-from)
	for l := from; l < to; l++ {
		states[l-from] = mamba.State{
			Conv: b.in.add(stateName(2*l), all[2*l]),
			SSM:  b.in.add(stateName(2*l+1), all[2*l+1]),
		}
	}
	return states
}

// encode is the first stage, from ids to what the decoder reads.
func (b *graphBuilder) encode() (*Node, []mamba.State) {
	states := b.states(0, b.m.cfg.NumEncoderLayers)
	if b.T == 1 || !b.m.groups() {
		ids, routing, bank := b.encoderParts(b.m.cfg.Slots())
		return b.m.cfg.Encode(b.core, bank, ids, routing, states, b.span)
	}
	c, k, banks := b.m.cfg, b.m.cfg.Slots(), b.m.banks()
	ids, routing, bank := b.encoderParts(banks)
	g := groups{
		bank: bank, names: slices.Sorted(maps.Keys(b.m.encoder)), tiles: tilesFor(b.T),
		order:  b.in.add(inputOrder, shapes.Make(dtypes.Int32, placesFor(k, b.T, banks))),
		places: b.in.add(inputPlaces, shapes.Make(dtypes.Int32, k*b.T)),
		starts: b.in.add(inputStarts, shapes.Make(dtypes.Int32, banks+1)),
	}
	x := c.Base.Embed(b.core, ids)
	slots, next := c.encodeGrouped(b.core, g, x, states, b.span)
	fused, _ := c.aggregate(b.core, x, slots, routing)
	return fused, next
}

// encoderParts adds ids, routing and the weights of as many encoders as inputs.
func (b *graphBuilder) encoderParts(encoders int) (ids *Node, routing Routing, bank []mamba.Weights) {
	m, k := b.m, b.m.cfg.Slots()
	ids = b.in.add(inputIDs, shapes.Make(dtypes.Int32, 1, b.T))
	if m.fusesOutputs() {
		routing.Gates = b.in.add(inputGates, shapes.Make(dtypes.Float32, b.T, k))
		routing.Quality = b.in.add(inputQuality, shapes.Make(dtypes.Float32, b.T, k))
	}
	if m.resetsOnSwap() {
		routing.Keep = b.in.add(inputKeep, shapes.Make(dtypes.Float32, k))
	}
	return ids, routing, b.bank(encoders)
}

// bank gives the weights of as many encoders.
func (b *graphBuilder) bank(encoders int) []mamba.Weights {
	bank := make([]mamba.Weights, encoders)
	for u := range bank {
		bank[u] = mamba.Weights(b.in.get).In(bankPrefix(u))
	}
	return bank
}

// finish is the last stage, from the decoder's hidden states [1, T, d] to logits or
// normalised hidden states.
func (b *graphBuilder) finish(x *Node, out output) *Node {
	d := b.m.cfg.Base.DModel
	x = Reshape(x, b.T, d)
	switch {
	case out == hiddenStates:
		return mamba.RMSNorm(x, b.core("norm_f.weight"), b.m.cfg.Base.NormEps)
	case out == lastLogits && b.T > 1:
		last := Sub(b.span.Length, Const(b.in.g.Graph, int32(1)))
		x = Reshape(Gather(x, Reshape(last, 1, 1)), 1, d)
	}
	logits := b.m.cfg.Base.Head(b.core, b.m.head(b.in), x)
	if out == likelihoods {
		return judge(logits, b.in.add(inputTargets, shapes.Make(dtypes.Int32, b.T)))
	}
	return logits
}

// head returns the weights of the LM head: its own matrix, or the embedding.
func (m *Model) head(in *inputs) mamba.Weights {
	if _, own := m.core.shapes[headName]; own {
		return in.get
	}
	return func(string) *Node { return in.get("backbone.embeddings.weight") }
}

// encoderShapes lists an encoder's tensors by name within a bank.
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
