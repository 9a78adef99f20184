package swarm

import (
	"context"
	"errors"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// drawLength is how many tokens one program of a Draw decodes. A GPU then spends
// its time on the model, not on the host's calls; a request still stops within them.
const drawLength = 16

// Names of the inputs of a program that draws tokens.
const (
	inputTemperature = "temperature" // scalar
	inputRNG         = "rng"         // state of the device's random numbers
)

// Draw is a run of tokens drawn on the device.
type Draw struct {
	IDs      []int32        // the tokens, in order; the last has not been read yet
	Logprobs []float64      // natural logarithm of each one's probability under the model
	Chunks   []router.Chunk // routing of the tokens that were read; none for a plain model
}

// Dice are a generation's random numbers on the device. They begin with the seed:
// the same seed gives the same tokens on the same back end.
type Dice struct {
	temperature float32 // 0 is greedy
	state       compute.Buffer
}

// Dice returns random numbers for Draw.
func (m *Model) Dice(seed uint64, temperature float64) (*Dice, error) {
	state := []uint64{seed, 0, 0}
	b, err := m.backend.BufferFromFlatData(0, state, graph.RNGStateShape)
	if err != nil {
		return nil, fmt.Errorf("upload seed: %w", err)
	}
	return &Dice{temperature: float32(temperature), state: b}, nil
}

// Close frees the device memory.
func (d *Dice) Close() { finalize(d.state) }

// Draws reports whether sessions can Draw: on a GPU, where it pays.
func (m *Model) Draws() bool { return m.onGPU && !m.resetsOnSwap() }

// DrawLength returns how many tokens a Draw from the session's position gives: 0
// where the model does not draw, or would have to read past the router's next
// decision.
func (s *Session) DrawLength() int {
	if !s.m.Draws() {
		return 0
	}
	if s.m.router != nil && s.m.cfg.Router.NextDecision(s.position) < s.position+drawLength {
		return 0
	}
	return drawLength
}

// Draw reads a token, draws the next from softmax(logits / temperature), reads that,
// and so on, without the host in between. Call it only while DrawLength is not 0.
// The drawing is by the Gumbel-max trick (Gumbel 1954; Maddison et al. 2014, §2).
func (s *Session) Draw(ctx context.Context, id int32, dice *Dice) (draw Draw, err error) {
	if s.err != nil {
		return Draw{}, s.err
	}
	if err := ctx.Err(); err != nil {
		return Draw{}, err
	}
	defer func() { s.err = err }()
	segments, chunks, err := s.route([]int32{id})
	if err != nil {
		return Draw{}, err
	}
	in, err := s.encoderInputs(ctx, takeSegment(&segments, 1), 1)
	if err != nil {
		return Draw{}, err
	}
	in.put(inputTemperature, []float32{dice.temperature}, shapes.Make(dtypes.Float32))
	defer in.finalize()
	if in.err != nil {
		return Draw{}, in.err
	}
	in.buffers[inputRNG] = dice.state // freed with the inputs
	p, err := s.m.program(programKey{tokens: 1, stage: drawStage})
	if err != nil {
		return Draw{}, err
	}
	out, err := p.run(func(r ref) compute.Buffer { return s.lookup(r, in) })
	if err != nil {
		return Draw{}, fmt.Errorf("draw %d tokens: %w", drawLength, err)
	}
	finalize(s.states...)
	dice.state, s.states = out[2], out[3:]
	draw.IDs = make([]int32, drawLength)
	logprobs := make([]float32, drawLength)
	err = errors.Join(out[0].ToFlatData(draw.IDs), out[1].ToFlatData(logprobs))
	finalize(out[0], out[1])
	if err != nil {
		return Draw{}, fmt.Errorf("read tokens: %w", err)
	}
	for _, v := range logprobs {
		draw.Logprobs = append(draw.Logprobs, float64(v))
	}
	if err := s.checkFinite(logprobs, in.bank); err != nil {
		return Draw{}, err
	}
	s.position++
	_, rest, err := s.route(draw.IDs[:drawLength-1])
	s.position += drawLength - 1
	draw.Chunks = append(chunks, rest...)
	return draw, err
}
