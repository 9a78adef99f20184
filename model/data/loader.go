package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// LoaderConfig says which rows a [Loader] gives.
type LoaderConfig struct {
	Dir    string // prepared data
	Split  string // empty means Train
	SeqLen int    // inputs of a row; it has one id more
	Batch  int    // rows of a batch
	Seed   uint64 // of every order
	// Weights are the shares of the domains in an epoch, by name and relative to each other;
	// every domain must have one. nil takes every row of every domain once an epoch.
	Weights  map[string]float64
	Domains  []string // domains to read; nil means all
	Prefetch int      // batches made ahead; 0 means 4
}

const defaultPrefetch = 4

// Batch is some rows.
type Batch struct {
	IDs      []int32  // [Batch, SeqLen+1], row after row
	Domain   []int32  // [Batch]: place in Loader.Domains
	Position Position // behind this batch
}

// Position is where a Loader stands. It is to be saved with the weights.
type Position struct {
	Epoch int64 `json:"epoch"`
	Row   int64 `json:"row"` // rows of the epoch that were given out
	// Data names what the order follows from: the shards, vocabulary, row length, seed and
	// mixture. The rows of a batch are not part of it and may be changed.
	Data string `json:"data"`
}

// Loader gives batches of packed rows without end. What it gives is a function of its
// configuration and position alone:
//
//   - the documents of a domain, in an order drawn once, form one sequence, which is cut into
//     rows;
//   - an epoch has as many rows as the domains have together; of each domain its share by
//     weight, taken from permutations of its rows, one after the other;
//   - these rows are shuffled anew each epoch; what does not fill a batch at its end is dropped.
//
// So without weights an epoch is one permutation of all rows. A Loader is for one goroutine; it
// owns another that makes batches ahead.
type Loader struct {
	cfg     LoaderConfig
	names   []string
	streams []*stream
	mix     mixture
	data    string // Position.Data

	at     Position // behind the last batch given out
	ahead  chan result
	cancel context.CancelFunc
	wait   sync.WaitGroup
	failed error // ends the loader until Seek
	closed bool
}

// result is a batch made ahead, or why there is none.
type result struct {
	batch Batch
	err   error
}

// NewLoader opens and verifies the shards: each of their bytes is read once. A domain that
// has not enough text for one row is an error, as is a split with less than one batch.
func NewLoader(cfg LoaderConfig) (*Loader, error) {
	l, err := newLoader(cfg)
	if err != nil {
		return nil, fmt.Errorf("load data of %s: %w", cfg.Dir, err)
	}
	return l, nil
}

func newLoader(cfg LoaderConfig) (l *Loader, err error) {
	if cfg.Split == "" {
		cfg.Split = Train
	}
	if cfg.Prefetch == 0 {
		cfg.Prefetch = defaultPrefetch
	}
	if cfg.SeqLen < 1 || cfg.Batch < 1 || cfg.Prefetch < 1 {
		return nil, wrongConfig("row length %d, batch %d and prefetch %d must be above 0", cfg.SeqLen, cfg.Batch, cfg.Prefetch)
	}
	m, err := ReadManifest(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l = &Loader{cfg: cfg, names: slices.Clone(cfg.Domains)}
	if l.names == nil {
		l.names = m.names()
	}
	if len(l.names) == 0 {
		return nil, wrongConfig("no domains are named")
	}
	opened := l
	defer func() {
		if err != nil {
			opened.closeStreams()
		}
	}()
	l.mix = mixture{seed: cfg.Seed, names: l.names}
	for i, name := range l.names {
		if slices.Contains(l.names[:i], name) {
			return nil, wrongConfig("domain %s is named twice", name)
		}
		p, err := m.part(cfg.Split, name)
		if err != nil {
			return nil, err
		}
		s, err := m.openStream(cfg.Dir, p, cfg.Seed)
		if err != nil {
			return nil, err
		}
		l.streams = append(l.streams, s)
		rows := s.rows(cfg.SeqLen)
		if rows == 0 {
			return nil, wrongConfig("domain %s has %d tokens in split %s, a row needs %d; shorten rows, add text or leave it out", name, s.tokens, cfg.Split, cfg.SeqLen+1)
		}
		l.mix.rows = append(l.mix.rows, rows)
	}
	if l.mix.quotas, err = quotas(l.names, l.mix.rows, cfg.Weights); err != nil {
		return nil, err
	}
	for _, quota := range l.mix.quotas {
		l.mix.total += quota
	}
	if l.mix.total < int64(cfg.Batch) {
		return nil, wrongConfig("split %s has %d rows, fewer than a batch of %d", cfg.Split, l.mix.total, cfg.Batch)
	}
	l.data = l.identity(m)
	l.at = Position{Data: l.data}
	return l, nil
}

// identity is Position.Data: what is named must be the same for the same order of the same
// ids.
func (l *Loader) identity(m *Manifest) string {
	shards, mixed := sha256.New(), sha256.New()
	for i, name := range l.names {
		p, _ := m.part(l.cfg.Split, name)
		fmt.Fprintf(mixed, "%s %d\n", name, l.mix.quotas[i])
		for _, s := range p.Shards {
			fmt.Fprintf(shards, "%s %s\n", name, s.SHA256)
		}
	}
	short := func(b []byte) string { return hex.EncodeToString(b[:8]) }
	return fmt.Sprintf("vocabulary=%d:%s shards=%s split=%s length=%d seed=%d mixture=%s", m.Tokenizer.VocabSize, m.Tokenizer.SHA256[:16],
		short(shards.Sum(nil)), l.cfg.Split, l.cfg.SeqLen, l.cfg.Seed, short(mixed.Sum(nil)))
}

// Domains returns the names that Batch.Domain counts.
func (l *Loader) Domains() []string { return slices.Clone(l.names) }

// RowsPerEpoch returns the rows of an epoch, with those that do not fill a batch.
func (l *Loader) RowsPerEpoch() int64 { return l.mix.total }

// Position returns where the loader stands: behind the last batch that Next returned.
func (l *Loader) Position() Position { return l.at }

// Seek makes the next batch the one behind p. A position of other data, another vocabulary,
// row length, seed or mixture is refused with ErrPosition.
func (l *Loader) Seek(p Position) error {
	if p.Data != l.data {
		return fmt.Errorf("load data of %s: %w: %s; go on with the same data and settings, or start anew", l.cfg.Dir, ErrPosition, difference(p.Data, l.data))
	}
	const lastEpoch = 1 << 31 // far beyond any run, and no product of it overflows
	if p.Epoch < 0 || p.Epoch > lastEpoch || p.Row < 0 || p.Row > l.mix.total {
		return fmt.Errorf("load data of %s: %w: epoch %d, row %d of %d", l.cfg.Dir, ErrPosition, p.Epoch, p.Row, l.mix.total)
	}
	l.halt()
	l.at, l.failed = p, nil
	return nil
}

// difference names the first thing in which two identities differ.
func difference(saved, now string) string {
	a, b := strings.Fields(saved), strings.Fields(now)
	if len(a) == len(b) {
		for i := range a {
			if a[i] != b[i] {
				return fmt.Sprintf("it was saved with %s, here is %s", a[i], b[i])
			}
		}
	}
	return fmt.Sprintf("it was saved with %q, here is %q", saved, now)
}

// Next returns the next batch, which is the caller's. When ctx ends first it returns ctx's
// error and loses nothing; after another error it returns that error again.
func (l *Loader) Next(ctx context.Context) (Batch, error) {
	switch {
	case l.closed:
		return Batch{}, errors.New("load data: the loader is closed")
	case l.failed != nil:
		return Batch{}, l.failed
	case l.ahead == nil:
		l.start()
	}
	select {
	case <-ctx.Done():
		return Batch{}, ctx.Err()
	case r := <-l.ahead:
		if r.err != nil {
			l.failed = fmt.Errorf("load data of %s: %w", l.cfg.Dir, r.err)
			return Batch{}, l.failed
		}
		l.at = r.batch.Position
		return r.batch, nil
	}
}

// Close stops the loader and lets the shards go.
func (l *Loader) Close() error {
	if l.closed {
		return nil
	}
	l.closed = true
	l.halt()
	l.closeStreams()
	return nil
}

func (l *Loader) closeStreams() {
	for _, s := range l.streams {
		s.close()
	}
}

// start begins to make batches from l.at on.
func (l *Loader) start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.ahead = cancel, make(chan result, l.cfg.Prefetch)
	at, ahead := l.at, l.ahead
	l.wait.Go(func() { l.produce(ctx, at, ahead) })
}

// halt stops making batches and forgets those made ahead.
func (l *Loader) halt() {
	if l.ahead == nil {
		return
	}
	l.cancel()
	l.wait.Wait()
	l.ahead = nil
}

// produce makes batch after batch until ctx ends or one cannot be made.
func (l *Loader) produce(ctx context.Context, at Position, ahead chan<- result) {
	list := l.mix.epoch(at.Epoch)
	for {
		if at.Row+int64(l.cfg.Batch) > l.mix.total {
			at.Epoch, at.Row = at.Epoch+1, 0
			list = l.mix.epoch(at.Epoch)
		}
		b, err := l.assemble(list[at.Row : at.Row+int64(l.cfg.Batch)])
		at.Row += int64(l.cfg.Batch)
		b.Position = at
		select {
		case ahead <- result{b, err}:
			if err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// assemble reads the rows of a batch.
func (l *Loader) assemble(picks []pick) (Batch, error) {
	length := l.cfg.SeqLen + 1
	b := Batch{IDs: make([]int32, len(picks)*length), Domain: make([]int32, len(picks))}
	for i, p := range picks {
		b.Domain[i] = p.domain
		if err := l.streams[p.domain].read(b.IDs[i*length:(i+1)*length], p.row*int64(l.cfg.SeqLen)); err != nil {
			return Batch{}, err
		}
	}
	return b, nil
}
