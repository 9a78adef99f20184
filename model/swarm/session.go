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
	given    []router.Chunk // the whole text's plan, instead of the router's; nil for none
	next     []int32        // what follows each token, by position, for likelihoods
	err      error          // what broke the session
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
// stops it between two pieces of at most 512 tokens (2048 on a GPU); the session can then only be
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
	for left := len(ids); left > 0; {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		n, values, err := s.block(ctx, &segments, left, out)
		if err != nil {
			return nil, nil, err
		}
		if visit != nil {
			if err := visit(s.position, values); err != nil {
				return nil, nil, err
			}
		}
		s.position += n
		left -= n
		logits = values
	}
	return logits, chunks, nil
}

// block reads as many of the left tokens as one program takes, and returns how many
// and its output. A plain model and a single token need one program. Over several
// tokens of a swarm the encoders run piece by piece, then the decoder once over all
// of them.
func (s *Session) block(ctx context.Context, segments *[]segment, left int, out output) (int, []float32, error) {
	n := min(left, s.m.bucket(left))
	key := programKey{tokens: s.m.bucket(n), stage: decoderStage, output: out}
	if left == 1 {
		key.tokens = 1
	}
	if s.m.cfg.Plain() || left == 1 {
		key.stage = wholeStage
		values, err := s.runEncoders(ctx, key, takeSegment(segments, n))
		return n, values, err
	}
	hidden, err := s.encode(ctx, segments, n, key.tokens)
	if err != nil {
		return 0, nil, err
	}
	in := s.newInputs()
	in.put(inputHidden, hidden, shapes.Make(dtypes.Float32, 1, key.tokens, s.m.cfg.Base.DModel))
	in.length(n, key.tokens)
	values, err := s.run(key, n, in)
	return n, values, err
}

// encode runs the encoders over the next n tokens and returns what the decoder
// reads, padded to T rows [T, d].
func (s *Session) encode(ctx context.Context, segments *[]segment, n, T int) ([]float32, error) {
	hidden := make([]float32, 0, T*s.m.cfg.Base.DModel)
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := s.takePiece(segments, n)
		key := programKey{tokens: s.m.bucket(len(p.ids)), stage: encoderStage}
		values, err := s.runEncoders(ctx, key, p)
		if err != nil {
			return nil, err
		}
		hidden = append(hidden, values...)
		n -= len(p.ids)
	}
	return hidden[:cap(hidden)], nil
}

// runEncoders runs a program that begins with the encoders.
func (s *Session) runEncoders(ctx context.Context, key programKey, p piece) ([]float32, error) {
	in, err := s.encoderInputs(ctx, p, key.tokens)
	if err != nil {
		return nil, err
	}
	return s.run(key, len(p.ids), in)
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
	chunks := s.given
	if chunks == nil {
		var err error
		if chunks, s.plan, err = s.m.router.Plan(s.plan, ids); err != nil {
			return nil, nil, err
		}
	}
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

// run runs one program over n tokens, frees its inputs, keeps the states, and
// returns the rows of its first output that belong to tokens.
func (s *Session) run(key programKey, n int, in *pieceInputs) ([]float32, error) {
	defer in.finalize()
	if key.output == likelihoods && key.stage != encoderStage {
		targets := make([]int32, key.tokens)
		copy(targets, s.next[s.position:][:n])
		in.put(inputTargets, targets, shapes.Make(dtypes.Int32, key.tokens))
	}
	if in.err != nil {
		return nil, in.err
	}
	p, err := s.m.program(key)
	if err != nil {
		return nil, err
	}
	results, err := p.run(func(r ref) compute.Buffer { return s.lookup(r, in) })
	if err != nil {
		return nil, fmt.Errorf("run %d tokens: %w", n, err)
	}
	from, rows, width := 0, key.tokens, s.m.cfg.Base.VocabSize
	switch {
	case key.stage == encoderStage:
		width = s.m.cfg.Base.DModel
	case key.output == lastLogits:
		rows = 1
	case key.output == hiddenStates:
		width = s.m.cfg.Base.DModel
	case key.output == likelihoods:
		width = 2
	}
	if key.stage == decoderStage {
		from = 2 * s.m.cfg.NumEncoderLayers
	}
	replaced := s.states[from : from+len(results)-1]
	finalize(replaced...)
	copy(replaced, results[1:])
	values := make([]float32, rows*width)
	err = results[0].ToFlatData(values)
	finalize(results[0])
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	values = values[:min(rows, n)*width]
	return values, s.checkFinite(values, in.bank)
}

// lookup finds the buffer for a program's input.
func (s *Session) lookup(r ref, in *pieceInputs) compute.Buffer {
	switch {
	case r.state >= 0:
		return s.states[r.state]
	case r.bank >= 0 && s.m.cfg.Fusion == FuseWeights:
		return s.merged.buffers[r.name]
	case r.bank >= len(in.bank): // nothing is computed with it
		return in.bank[0].buffers[r.name]
	case r.bank >= 0:
		return in.bank[r.bank].buffers[r.name]
	}
	if b, ok := in.buffers[r.name]; ok {
		return b
	}
	return s.m.core.buffers[r.name]
}

// checkFinite reports values that are NaN or infinite, and which weights they come
// from: those of the core or of the encoders that ran.
func (s *Session) checkFinite(values []float32, ran []*encoder) error {
	for _, v := range values {
		if v-v != 0 {
			var encoders []int
			for _, enc := range ran {
				encoders = append(encoders, enc.index)
			}
			return s.m.diagnose(encoders)
		}
	}
	return nil
}
