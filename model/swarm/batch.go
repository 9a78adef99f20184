package swarm

import (
	"context"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/mamba-encoder-swarm/mes/model/router"
)

// batchShape says how texts are judged side by side. The zero value: one by one.
type batchShape struct {
	lanes   int   // texts
	windows []int // tokens of a program, ascending
}

// batchOn is the shape for a device: a GPU needs many rows to be busy, a processor
// is busy with one text.
func batchOn(gpu bool) batchShape {
	if !gpu {
		return batchShape{}
	}
	return batchShape{lanes: 32, windows: []int{64, 512}}
}

// window is the length of the program when the longest text has n tokens left.
func (b batchShape) window(n int) int {
	for _, T := range b.windows {
		if n <= T {
			return T
		}
	}
	return b.windows[len(b.windows)-1]
}

// tile is the number of rows of one product with an encoder's matrix.
func (b batchShape) tile(T int) int { return min(T, 256) }

// places returns M, the number of places that the rows of a window have: each encoder
// begins at a tile.
func (b batchShape) places(slots, T, banks int) int { return slots*b.lanes*T + banks*b.tile(T) }

// banksFor is the room for encoders of the program that runs so many: few programs,
// none with far more than it needs.
func (m *Model) banksFor(encoders int) int {
	banks := 4 * m.cfg.Slots()
	for banks < encoders {
		banks *= 4
	}
	return min(banks, m.cfg.Router.NumEncoders)
}

// batchStateShapes is stateShapes for all lanes.
func (m *Model) batchStateShapes() []shapes.Shape {
	all := m.stateShapes()
	for i := range all {
		all[i] = all[i].Clone()
		all[i].Dimensions[0] *= m.batch.lanes
	}
	return all
}

// inputTiles is the encoder of each tile, [M/tile].
const inputTiles = "tiles"

// lane is a text that is being judged.
type lane struct {
	text   int // place in the texts; -1 for none
	ids    []int32
	plan   []router.Chunk // what covers position at, and later
	at     int            // tokens read
	judged Judged
}

// left is how many tokens are not yet read.
func (l *lane) left() int { return len(l.ids) - 1 - l.at }

// batch judges texts side by side: each lane goes through its text in windows and then
// takes the next one. A window that is not full is a text's last, so that no state
// behind padding is ever read.
type batch struct {
	m      *Model
	texts  []Text
	next   int // text that no lane has had yet
	done   func(text int, j Judged) error
	lanes  []lane
	states []compute.Buffer
	held   []*encoder // of the last window
}

// judgeBatch is Judge with lanes.
func (m *Model) judgeBatch(ctx context.Context, texts []Text, done func(int, Judged) error) error {
	b := &batch{m: m, lanes: make([]lane, m.batch.lanes), texts: texts, done: done}
	defer b.close()
	for _, shape := range m.batchStateShapes() {
		buffer, err := m.backend.BufferFromFlatData(0, make([]float32, shape.Size()), shape)
		if err != nil {
			return err
		}
		b.states = append(b.states, buffer)
	}
	for i := range b.lanes {
		b.lanes[i].text = -1
	}
	for {
		longest, err := b.fill()
		if err != nil || longest == 0 {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.window(ctx, m.batch.window(longest)); err != nil {
			return err
		}
		for i := range b.lanes {
			if l := &b.lanes[i]; l.text >= 0 && l.left() == 0 {
				if err := done(l.text, l.judged); err != nil {
					return err
				}
				l.text = -1
			}
		}
	}
}

// fill gives the lanes that are free the next texts, and returns the tokens that the
// longest has left.
func (b *batch) fill() (longest int, err error) {
	for i := range b.lanes {
		l := &b.lanes[i]
		for ; l.text < 0 && b.next < len(b.texts); b.next++ {
			text := b.texts[b.next]
			if len(text.IDs) < 2 {
				if err := b.done(b.next, Judged{}); err != nil {
					return 0, err
				}
				continue
			}
			plan, err := b.m.planned(text)
			if err != nil {
				return 0, err
			}
			*l = lane{text: b.next, ids: text.IDs, plan: plan}
		}
		if l.text >= 0 {
			longest = max(longest, l.left())
		}
	}
	return longest, nil
}

func (b *batch) close() {
	b.release()
	finalize(b.states...)
}

func (b *batch) release() {
	for _, enc := range b.held {
		b.m.pool.release(enc)
	}
	b.held = nil
}

// window reads the next T tokens of every lane.
func (b *batch) window(ctx context.Context, T int) error {
	in := &pieceInputs{backend: b.m.backend, buffers: map[string]compute.Buffer{}}
	defer in.finalize()
	lanes := len(b.lanes)
	ids, targets, keep, read := make([]int32, lanes*T), make([]int32, lanes*T), make([]float32, lanes), make([]int, lanes)
	for i := range b.lanes {
		l := &b.lanes[i]
		if l.text < 0 {
			continue
		}
		read[i] = min(T, l.left())
		copy(ids[i*T:], l.ids[l.at:][:read[i]])
		copy(targets[i*T:], l.ids[l.at+1:][:read[i]])
		if l.at > 0 {
			keep[i] = 1
		}
	}
	key := programKey{tokens: T, stage: batchStage, output: likelihoods}
	if !b.m.cfg.Plain() {
		banks, err := b.route(ctx, in, T, read)
		if err != nil {
			return err
		}
		key.banks = banks
	}
	in.put(inputIDs, ids, shapes.Make(dtypes.Int32, lanes, T))
	in.put(inputTargets, targets, shapes.Make(dtypes.Int32, lanes*T))
	in.put(inputKeep, keep, shapes.Make(dtypes.Float32, lanes))
	if in.err != nil {
		return in.err
	}
	values, err := b.run(key, in)
	if err != nil {
		return err
	}
	for i, n := range read {
		rows := values[2*i*T:][:2*n]
		if err := b.checkFinite(rows); err != nil {
			return err
		}
		b.lanes[i].judged.add(rows)
		b.lanes[i].at += n
	}
	return nil
}

// run runs a program and keeps its states.
func (b *batch) run(key programKey, in *pieceInputs) ([]float32, error) {
	p, err := b.m.program(key)
	if err != nil {
		return nil, err
	}
	results, err := p.run(func(r ref) compute.Buffer {
		switch {
		case r.state >= 0:
			return b.states[r.state]
		case r.bank >= len(in.bank): // nothing is computed with it
			return in.bank[0].buffers[r.name]
		case r.bank >= 0:
			return in.bank[r.bank].buffers[r.name]
		}
		if buffer, ok := in.buffers[r.name]; ok {
			return buffer
		}
		return b.m.core.buffers[r.name]
	})
	if err != nil {
		return nil, fmt.Errorf("run %d texts of %d tokens: %w", len(b.lanes), key.tokens, err)
	}
	finalize(b.states...)
	b.states = results[1:]
	values := make([]float32, 2*len(b.lanes)*key.tokens)
	err = results[0].ToFlatData(values)
	finalize(results[0])
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	return values, nil
}

// route adds the plan of a window, loads its encoders, and returns the program's room
// for encoders.
func (b *batch) route(ctx context.Context, in *pieceInputs, T int, read []int) (int, error) {
	k, lanes := b.m.cfg.Slots(), len(b.lanes)
	gates, quality := make([]float32, lanes*T*k), make([]float32, lanes*T*k)
	slots := make([][]int, lanes*T) // nil at padding
	for i, n := range read {
		l := &b.lanes[i]
		for t := range n {
			for l.plan[0].End <= l.at+t {
				l.plan = l.plan[1:]
			}
			row := i*T + t
			slots[row] = l.plan[0].Slots
			for s, g := range l.plan[0].Gates {
				gates[row*k+s], quality[row*k+s] = float32(g), b.m.quality[l.plan[0].Slots[s]]
			}
		}
	}
	d, tiles := b.m.batch.dispatch(slots, k, T, b.m.banksFor)
	var held []*encoder
	for _, e := range d.encoders {
		enc, err := b.m.acquire(ctx, e)
		if err != nil {
			for _, enc := range held {
				b.m.pool.release(enc)
			}
			return 0, err
		}
		held = append(held, enc)
	}
	b.release()
	b.held, in.bank = held, held
	shape := func(dims ...int) shapes.Shape { return shapes.Make(dtypes.Int32, dims...) }
	in.put(inputOrder, d.order, shape(len(d.order)))
	in.put(inputPlaces, d.places, shape(len(d.places)))
	in.put(inputTiles, tiles, shape(len(tiles)))
	in.put(inputGates, gates, shapes.Make(dtypes.Float32, lanes, T, k))
	in.put(inputQuality, quality, shapes.Make(dtypes.Float32, lanes, T, k))
	return b.m.banksFor(len(d.encoders)), nil
}

// dispatch sorts the rows of a window, whose tokens are read by slots [lanes·T][k], by
// encoder. The second result is the place in encoders of each tile's encoder.
func (s batchShape) dispatch(slots [][]int, k, T int, banksFor func(int) int) (dispatch, []int32) {
	var seen []int
	for _, active := range slots {
		if active != nil {
			seen = distinct(seen, active)
		}
	}
	banks := banksFor(len(seen))
	d := sortRows(slots, k, s.lanes*T, s.places(k, T, banks), s.tile(T), banks)
	encoder := make([]int32, len(d.order)/s.tile(T))
	for u := range d.encoders {
		for place := int(d.starts[u]); place < int(d.starts[u+1]); place += s.tile(T) {
			encoder[place/s.tile(T)] = int32(u)
		}
	}
	return d, encoder
}

// checkFinite reports losses that are NaN or infinite, and the weights they come from.
func (b *batch) checkFinite(values []float32) error {
	for _, v := range values {
		if v-v != 0 {
			var encoders []int
			for _, enc := range b.held {
				encoders = append(encoders, enc.index)
			}
			return b.m.diagnose(encoders)
		}
	}
	return nil
}
