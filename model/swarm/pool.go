package swarm

import (
	"container/list"
	"fmt"
	"sync"

	"github.com/gomlx/compute"
)

// Pool keeps the encoders that are in use, and recently used ones, in device
// memory. An encoder is read from the checkpoint when it is first needed; idle
// ones are evicted, the least recently used first, as soon as the pool holds more
// than its budget. Encoders in use are never evicted, whatever the budget.
type Pool struct {
	backend   compute.Backend
	cfg       Config
	src       Source
	precision Precision
	budget    int64

	mu       sync.Mutex
	resident map[int]*encoder
	idle     *list.List // of *encoder, least recently used first
	bytes    int64
	loads    int64
}

// encoder is a resident encoder; its tensors are named as within a bank slot
// (layers.{l}.…).
type encoder struct {
	*tensorMap
	index int
	users int
	place *list.Element // in Pool.idle while users is 0
	ready chan struct{} // closed once loaded
	err   error
}

// PoolStats says what a Pool did and holds.
type PoolStats struct {
	Resident int   // encoders in device memory
	Bytes    int64 // their size
	Loads    int64 // encoders read since the start
}

func newPool(b compute.Backend, cfg Config, src Source, p Precision, budget int64) *Pool {
	return &Pool{backend: b, cfg: cfg, src: src, precision: p, budget: budget, resident: map[int]*encoder{}, idle: list.New()}
}

// Stats returns the pool's present numbers.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PoolStats{Resident: len(p.resident), Bytes: p.bytes, Loads: p.loads}
}

// acquire returns encoder e, loading it if needed, and holds it until release.
func (p *Pool) acquire(e int) (*encoder, error) {
	p.mu.Lock()
	enc, ok := p.resident[e]
	if !ok {
		enc = &encoder{tensorMap: newTensorMap(), index: e, ready: make(chan struct{})}
		p.resident[e] = enc
	}
	enc.users++
	if enc.place != nil {
		p.idle.Remove(enc.place)
		enc.place = nil
	}
	p.mu.Unlock()
	if !ok {
		enc.err = p.load(enc)
		close(enc.ready)
	}
	<-enc.ready
	if enc.err != nil {
		p.release(enc)
		return nil, enc.err
	}
	return enc, nil
}

// load reads an encoder's tensors, then makes room for them.
func (p *Pool) load(enc *encoder) error {
	specs := p.cfg.EncoderTensors(enc.index)
	names := make([]string, len(specs))
	prefix := len(LayerTensor(enc.index, 0, "")) - len("layers.0.")
	for i, spec := range specs {
		names[i] = spec.Name
		if err := enc.load(p.backend, p.src, spec, spec.Name[prefix:], p.precision); err != nil {
			enc.finalize()
			return fmt.Errorf("encoder %d: %w", enc.index, err)
		}
	}
	p.src.Release(names)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += enc.bytes
	p.loads++
	p.evict()
	return nil
}

// release ends one use of an encoder.
func (p *Pool) release(enc *encoder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	enc.users--
	if enc.users > 0 {
		return
	}
	if enc.err != nil {
		delete(p.resident, enc.index)
		return
	}
	enc.place = p.idle.PushBack(enc)
	p.evict()
}

// evict frees idle encoders while the pool is over its budget.
func (p *Pool) evict() {
	for p.bytes > p.budget && p.idle.Len() > 0 {
		enc := p.idle.Remove(p.idle.Front()).(*encoder)
		delete(p.resident, enc.index)
		p.bytes -= enc.bytes
		enc.finalize()
	}
}

// close frees all encoders; none may be in use.
func (p *Pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, enc := range p.resident {
		enc.finalize()
	}
	p.resident, p.bytes = map[int]*encoder{}, 0
	p.idle.Init()
}
