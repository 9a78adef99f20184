package swarm

import (
	"context"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// segment is a run of tokens over which no slot changes its encoder.
type segment struct {
	ids   []int32
	slots []int       // [k] encoder in each slot; nil for a plain model
	gates [][]float64 // [len(ids)][k]
}

// piece is what one program reads: a part of one segment, or of several.
type piece struct {
	ids   []int32
	slots [][]int     // [len(ids)][k]
	gates [][]float64 // [len(ids)][k]
}

// take moves at most n tokens of the next segment to the piece.
func (p *piece) take(segments *[]segment, n int) {
	for len((*segments)[0].ids) == 0 {
		*segments = (*segments)[1:]
	}
	seg := &(*segments)[0]
	n = min(n, len(seg.ids))
	p.ids, seg.ids = append(p.ids, seg.ids[:n]...), seg.ids[n:]
	if seg.slots == nil {
		return
	}
	for range n {
		p.slots = append(p.slots, seg.slots)
	}
	p.gates, seg.gates = append(p.gates, seg.gates[:n]...), seg.gates[n:]
}

// takeSegment takes at most n tokens of the next segment.
func takeSegment(segments *[]segment, n int) (p piece) {
	p.take(segments, n)
	return p
}

// takePiece takes what one program of the encoder stage reads of the next n tokens:
// of the next segment alone, or of as many as keep within the model's banks.
func (s *Session) takePiece(segments *[]segment, n int) piece {
	length, seen := 0, []int(nil)
	for _, seg := range *segments {
		if len(seg.ids) == 0 {
			continue
		}
		if seen = distinct(seen, seg.slots); length > 0 && (!s.m.groups() || len(seen) > s.m.banks()) {
			break
		}
		length += len(seg.ids)
	}
	length = min(length, n)
	length = min(length, s.m.bucket(length))
	var p piece
	for len(p.ids) < length {
		p.take(segments, length-len(p.ids))
	}
	return p
}

// pieceInputs are the inputs of one run but for the core's weights and the states.
// The first error stays.
type pieceInputs struct {
	backend compute.Backend
	buffers map[string]compute.Buffer
	bank    []*encoder // encoders by bank
	release func()     // gives the encoders back that no slot keeps
	err     error
}

func (s *Session) newInputs() *pieceInputs {
	return &pieceInputs{backend: s.m.backend, buffers: map[string]compute.Buffer{}}
}

func (in *pieceInputs) put(name string, flat any, shape shapes.Shape) {
	if in.err != nil {
		return
	}
	b, err := in.backend.BufferFromFlatData(0, flat, shape)
	if err != nil {
		in.err = fmt.Errorf("upload %s: %w", name, err)
		return
	}
	in.buffers[name] = b
}

// length adds the number of tokens for a graph of T positions; a graph of one has
// no such input.
func (in *pieceInputs) length(n, T int) {
	if T > 1 {
		in.put(inputLength, []int32{int32(n)}, shapes.Make(dtypes.Int32))
	}
}

func (in *pieceInputs) finalize() {
	for _, b := range in.buffers {
		finalize(b)
	}
	if in.release != nil {
		in.release()
	}
}

// encoderInputs fetches and loads a piece's encoders, and uploads its tokens, padded to T, and
// their routing. The slots then hold the encoders of its last token.
func (s *Session) encoderInputs(ctx context.Context, p piece, T int) (*pieceInputs, error) {
	in, n := s.newInputs(), len(p.ids)
	k := s.m.cfg.Slots()
	switch {
	case s.m.cfg.Plain():
	case T > 1 && s.m.groups():
		d := newDispatch(p.slots, T, s.m.banks())
		if err := s.installAll(ctx, in, d.encoders, p.slots[n-1]); err != nil {
			return nil, err
		}
		in.put(inputOrder, d.order, shapes.Make(dtypes.Int32, len(d.order)))
		in.put(inputPlaces, d.places, shapes.Make(dtypes.Int32, len(d.places)))
		in.put(inputStarts, d.starts, shapes.Make(dtypes.Int32, len(d.starts)))
	default:
		if err := s.install(ctx, p.slots[0], p.gates[0]); err != nil {
			return nil, err
		}
		in.bank = s.slots
	}
	ids := make([]int32, T)
	copy(ids, p.ids)
	in.put(inputIDs, ids, shapes.Make(dtypes.Int32, 1, T))
	in.length(n, T)
	if s.m.fusesOutputs() {
		gates, quality := make([]float32, T*k), make([]float32, T*k)
		for t := range T {
			row := min(t, n-1)
			for i, g := range p.gates[row] {
				gates[t*k+i] = float32(g)
				quality[t*k+i] = s.m.quality[p.slots[row][i]]
			}
		}
		in.put(inputGates, gates, shapes.Make(dtypes.Float32, T, k))
		in.put(inputQuality, quality, shapes.Make(dtypes.Float32, T, k))
	}
	if s.m.resetsOnSwap() {
		in.put(inputKeep, s.keep(), shapes.Make(dtypes.Float32, k))
	}
	return in, nil
}

// install puts encoders into the slots; only slots that change are
// fetched and loaded.
func (s *Session) install(ctx context.Context, encoders []int, gates []float64) error {
	for i, e := range encoders {
		old := s.slots[i]
		if old != nil && old.index == e {
			continue
		}
		enc, err := s.m.acquire(ctx, e)
		if err != nil {
			return err
		}
		s.slots[i] = enc
		if old != nil {
			s.changed[i] = true
			s.m.pool.release(old)
		}
	}
	if s.m.cfg.Fusion == FuseWeights {
		return s.merged.update(s.m, s.slots, gates)
	}
	return nil
}

// installAll loads all encoders of a piece into its bank and puts those of its last
// token into the slots.
func (s *Session) installAll(ctx context.Context, in *pieceInputs, encoders, last []int) error {
	in.release = func() {
		for _, enc := range in.bank {
			s.m.pool.release(enc)
		}
	}
	for _, e := range encoders {
		enc, err := s.m.acquire(ctx, e)
		if err != nil {
			in.release()
			return err
		}
		in.bank = append(in.bank, enc)
	}
	if err := s.install(ctx, last, nil); err != nil {
		in.release()
		return err
	}
	return nil
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
