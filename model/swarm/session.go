package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// Session is one text being read or written: the router's state, the encoders in
// the slots and the layers' states. Its size does not grow with the text. It is
// not safe for concurrent use.
type Session struct {
	m        *Model
	position int
	plan     router.State
	slots    []*encoder
	changed  []bool // slots whose encoder changed since the last piece
	merged   merged
	states   []compute.Buffer
	err      error // what broke the session
}

// NewSession starts a text. domain is a hint for the encoders that run before the
// router's first decision; empty means the default encoders.
func (m *Model) NewSession(domain string) (*Session, error) {
	s := &Session{m: m}
	if m.router != nil {
		plan, err := m.router.Start(domain)
		if err != nil {
			return nil, err
		}
		s.plan = plan
		k := m.cfg.Router.EncodersPerToken
		s.slots, s.changed = make([]*encoder, k), make([]bool, k)
	} else if domain != "" {
		return nil, fmt.Errorf("domain %q: the model is a plain %s without encoders; leave the domain empty", domain, m.cfg.Base.Kind)
	}
	states, err := m.zeroStates()
	if err != nil {
		return nil, err
	}
	s.states = states
	return s, nil
}

// Close gives the session's encoders and device memory back.
func (s *Session) Close() {
	for i, enc := range s.slots {
		if enc != nil {
			s.m.pool.release(enc)
			s.slots[i] = nil
		}
	}
	s.merged.finalize()
	finalize(s.states...)
	s.states, s.err = nil, errors.New("the session is closed")
}

// Position returns how many tokens the session has read.
func (s *Session) Position() int { return s.position }

// Feed reads tokens and returns the logits [V] after the last of them, and the
// router's chunks that cover them (none for a plain model). A context that ends
// stops it between two pieces of at most 512 tokens; the session can then only be
// closed, as after any other error.
func (s *Session) Feed(ctx context.Context, ids []int32) ([]float32, []router.Chunk, error) {
	return s.feed(ctx, ids, lastLogits, nil)
}

// Score reads tokens like Feed and calls visit with the logits [n, V] after each of
// the tokens from position at on, piece by piece. The slice is reused.
func (s *Session) Score(ctx context.Context, ids []int32, visit func(at int, logits []float32) error) ([]router.Chunk, error) {
	_, chunks, err := s.feed(ctx, ids, allLogits, visit)
	return chunks, err
}

// Encode reads tokens like Feed and returns the mean over them of the hidden states
// after the final norm [d]: the text as a vector.
func (s *Session) Encode(ctx context.Context, ids []int32) ([]float32, []router.Chunk, error) {
	sum := make([]float64, s.m.cfg.Base.DModel)
	_, chunks, err := s.feed(ctx, ids, hiddenStates, func(_ int, hidden []float32) error {
		for i, v := range hidden {
			sum[i%len(sum)] += float64(v)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	mean := make([]float32, len(sum))
	for i, v := range sum {
		mean[i] = float32(v / float64(len(ids)))
	}
	return mean, chunks, nil
}

func (s *Session) feed(ctx context.Context, ids []int32, out output, visit func(int, []float32) error) (logits []float32, chunks []router.Chunk, err error) {
	if s.err != nil {
		return nil, nil, s.err
	}
	if len(ids) == 0 {
		return nil, nil, errors.New("no tokens to read")
	}
	defer func() { s.err = err }()
	segments, chunks, err := s.route(ids)
	if err != nil {
		return nil, nil, err
	}
	for _, seg := range segments {
		if err := s.install(seg); err != nil {
			return nil, nil, err
		}
		for len(seg.ids) > 0 {
			if err := ctx.Err(); err != nil {
				return nil, nil, err
			}
			n := min(len(seg.ids), bucket(len(seg.ids)))
			if logits, err = s.piece(seg, n, out); err != nil {
				return nil, nil, err
			}
			if visit != nil {
				if err := visit(s.position, logits); err != nil {
					return nil, nil, err
				}
			}
			s.position += n
			seg = seg.after(n)
		}
	}
	return logits, chunks, nil
}

// segment is a run of tokens over which no slot changes its encoder.
type segment struct {
	ids   []int32
	slots []int
	gates [][]float64 // [len(ids)][k]
}

func (g segment) after(n int) segment {
	g.ids = g.ids[n:]
	if g.gates != nil {
		g.gates = g.gates[n:]
	}
	return g
}

// route plans ids and joins chunks that run the same encoders.
func (s *Session) route(ids []int32) ([]segment, []router.Chunk, error) {
	if s.m.router == nil {
		for i, id := range ids {
			if id < 0 || int(id) >= s.m.cfg.Base.VocabSize {
				return nil, nil, fmt.Errorf("token %d at position %d: the model's vocabulary has ids 0 to %d", id, s.position+i, s.m.cfg.Base.VocabSize-1)
			}
		}
		return []segment{{ids: ids}}, nil, nil
	}
	chunks, plan, err := s.m.router.Plan(s.plan, ids)
	if err != nil {
		return nil, nil, err
	}
	s.plan = plan
	var segments []segment
	for _, c := range chunks {
		part := ids[c.Start-s.position : c.End-s.position]
		last := len(segments) - 1
		if last < 0 || !slices.Equal(segments[last].slots, c.Slots) ||
			s.m.cfg.Fusion == FuseWeights && !slices.Equal(segments[last].gates[0], c.Gates) {
			segments = append(segments, segment{slots: c.Slots})
			last++
		}
		seg := &segments[last]
		seg.ids = append(seg.ids, part...)
		for range part {
			seg.gates = append(seg.gates, c.Gates)
		}
	}
	return segments, chunks, nil
}

// install puts a segment's encoders into the slots; only slots that change are
// loaded.
func (s *Session) install(seg segment) error {
	for i, e := range seg.slots {
		old := s.slots[i]
		if old != nil && old.index == e {
			continue
		}
		enc, err := s.m.pool.acquire(e)
		if err != nil {
			return err
		}
		s.slots[i] = enc
		if old != nil {
			s.changed[i] = true
			s.m.pool.release(old)
		}
	}
	if s.m.cfg.Fusion == FuseWeights && !s.m.cfg.Plain() {
		return s.merged.update(s.m, s.slots, seg.gates[0])
	}
	return nil
}

// piece runs one program over the first n tokens of a segment and returns its first
// output.
func (s *Session) piece(seg segment, n int, out output) ([]float32, error) {
	T := bucket(n)
	p, err := s.m.program(programKey{T, out})
	if err != nil {
		return nil, err
	}
	in, err := s.pieceInputs(seg, n, T)
	defer func() {
		for _, b := range in {
			finalize(b)
		}
	}()
	if err != nil {
		return nil, err
	}
	results, err := p.run(func(r ref) compute.Buffer { return s.lookup(r, in) })
	if err != nil {
		return nil, fmt.Errorf("run %d tokens: %w", n, err)
	}
	finalize(s.states...)
	s.states = results[1:]
	rows, width := T, s.m.cfg.Base.VocabSize
	switch out {
	case lastLogits:
		rows = 1
	case hiddenStates:
		width = s.m.cfg.Base.DModel
	}
	values := make([]float32, rows*width)
	err = results[0].ToFlatData(values)
	finalize(results[0])
	if err != nil {
		return nil, fmt.Errorf("read logits: %w", err)
	}
	values = values[:min(rows, n)*width]
	return values, s.checkFinite(values)
}

// pieceInputs uploads what differs from piece to piece.
func (s *Session) pieceInputs(seg segment, n, T int) (map[string]compute.Buffer, error) {
	in := map[string]compute.Buffer{}
	put := func(name string, flat any, shape shapes.Shape) error {
		b, err := s.m.backend.BufferFromFlatData(0, flat, shape)
		if err != nil {
			return fmt.Errorf("upload %s: %w", name, err)
		}
		in[name] = b
		return nil
	}
	ids := make([]int32, T)
	copy(ids, seg.ids[:n])
	if err := put(inputIDs, ids, shapes.Make(dtypes.Int32, 1, T)); err != nil {
		return in, err
	}
	if T > 1 {
		if err := put(inputLength, []int32{int32(n)}, shapes.Make(dtypes.Int32)); err != nil {
			return in, err
		}
	}
	k := s.m.cfg.Slots()
	if s.m.fusesOutputs() {
		gates, quality := make([]float32, T*k), make([]float32, k)
		for t := range T {
			for i, g := range seg.gates[min(t, n-1)] {
				gates[t*k+i] = float32(g)
			}
		}
		for i, enc := range s.slots {
			quality[i] = s.m.quality[enc.index]
		}
		if err := put(inputGates, gates, shapes.Make(dtypes.Float32, T, k)); err != nil {
			return in, err
		}
		if err := put(inputQuality, quality, shapes.Make(dtypes.Float32, k)); err != nil {
			return in, err
		}
	}
	if s.m.resetsOnSwap() {
		if err := put(inputKeep, s.keep(), shapes.Make(dtypes.Float32, k)); err != nil {
			return in, err
		}
	}
	return in, nil
}

// keep marks the slots that go on from their state with 1, and forgets the changes.
// With merged weights there is one state, which restarts with any change.
func (s *Session) keep() []float32 {
	keep := make([]float32, s.m.cfg.Slots())
	for i := range keep {
		keep[i] = 1
	}
	for i, changed := range s.changed {
		if changed {
			keep[min(i, len(keep)-1)] = 0
		}
		s.changed[i] = false
	}
	return keep
}

// lookup finds the buffer for a program's input.
func (s *Session) lookup(r ref, in map[string]compute.Buffer) compute.Buffer {
	switch {
	case r.state >= 0:
		return s.states[r.state]
	case r.slot >= 0 && s.m.cfg.Fusion == FuseWeights:
		return s.merged.buffers[r.name]
	case r.slot >= 0:
		return s.slots[r.slot].buffers[r.name]
	}
	if b, ok := in[r.name]; ok {
		return b
	}
	return s.m.core.buffers[r.name]
}

// checkFinite reports values that are NaN or infinite, and which weights they come
// from.
func (s *Session) checkFinite(values []float32) error {
	for _, v := range values {
		if v-v != 0 {
			var encoders []int
			for _, enc := range s.slots {
				encoders = append(encoders, enc.index)
			}
			return s.m.diagnose(encoders)
		}
	}
	return nil
}
