package swarm

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// merged holds the gate-weighted sum of the active encoders' tensors, for
// encoder_fusion weights: one encoder's arithmetic whatever k is.
type merged struct {
	buffers map[string]compute.Buffer // by name within a bank
	slots   []int
	gates   []float64
}

func (g *merged) finalize() {
	for _, b := range g.buffers {
		finalize(b)
	}
	g.buffers = nil
}

// update merges the slots' encoders unless slots and gates are those already
// merged.
func (g *merged) update(m *Model, encoders []*encoder, gates []float64) error {
	slots := make([]int, len(encoders))
	for i, enc := range encoders {
		slots[i] = enc.index
	}
	if g.buffers != nil && slices.Equal(slots, g.slots) && slices.Equal(gates, g.gates) {
		return nil
	}
	p, names, err := m.mergeProgram()
	if err != nil {
		return err
	}
	weights := make([]float32, len(gates))
	for i, v := range gates {
		weights[i] = float32(v)
	}
	gateBuffer, err := m.backend.BufferFromFlatData(0, weights, shapes.Make(dtypes.Float32, len(weights)))
	if err != nil {
		return fmt.Errorf("upload gates: %w", err)
	}
	defer finalize(gateBuffer)
	out, err := p.run(func(r ref) compute.Buffer {
		if r.bank < 0 {
			return gateBuffer
		}
		return encoders[r.bank].buffers[r.name]
	})
	if err != nil {
		return fmt.Errorf("merge encoders %v: %w", slots, err)
	}
	g.finalize()
	g.buffers, g.slots, g.gates = map[string]compute.Buffer{}, slots, slices.Clone(gates)
	for i, name := range names {
		g.buffers[name] = out[i]
	}
	return nil
}

// mergeProgram returns the program Σ_s gates[s]·bank.s.NAME for every tensor of an
// encoder, and the tensors' names in the order of its outputs.
func (m *Model) mergeProgram() (*compiled, []string, error) {
	encoder := m.cfg.encoderShapes(F32)
	var names []string
	for name := range encoder {
		names = append(names, name)
	}
	slices.Sort(names)
	p, err := m.programFor(programKey{output: mergeEncoders}, func() (*compiled, error) {
		return compile(m.backend, "merge", nil, func(in *inputs) []*Node {
			k := m.cfg.Router.EncodersPerToken
			gates := in.add(inputGates, shapes.Make(dtypes.Float32, k))
			out := make([]*Node, len(names))
			for i, name := range names {
				for s := range k {
					gate := Reshape(Slice(gates, AxisRange(s, s+1)))
					term := Mul(in.add(bankPrefix(s)+name, encoder[name]), gate)
					if s == 0 {
						out[i] = term
					} else {
						out[i] = Add(out[i], term)
					}
				}
			}
			return out
		})
	})
	return p, names, err
}
