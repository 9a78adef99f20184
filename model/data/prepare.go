package data

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mamba-encoder-swarm/mes/model/domain"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// PrepareConfig says what [Prepare] makes of what.
type PrepareConfig struct {
	Inputs    []string // folders and files
	Out       string   // folder to write; must not exist
	Tokenizer string   // folder with a tokenizer, or a tokenizer.json or tokenizer.model
	Replace   bool     // replace prepared data that is at Out
	Rules     Rules

	// MaxDocument is the longest document in bytes; 0 means DefaultMaxDocument.
	MaxDocument int64
	// ShardTokens is the number of ids at which another shard is begun; 0 means 1<<26.
	ShardTokens int64
	// Workers is how many documents are encoded at once; 0 means one for each processor.
	Workers int
	// Progress, when not nil, is called now and then from one goroutine with the bytes of
	// the inputs that were read, and all of them.
	Progress func(done, total int64)
}

// DefaultMaxDocument is the longest document unless a configuration says otherwise. It is
// held in memory as text and as ids.
const DefaultMaxDocument = 64 << 20

const defaultShardTokens = 1 << 26

// Prepare reads texts, encodes them and writes a data folder, which appears under its name
// when it is complete and not at all after an error. Inputs are read one after the other, the
// files of a folder by rising name:
//
//   - .jsonl and .ndjson: a JSON object a line, each a document;
//   - .parquet: a row a document;
//   - other files with a known ending (.txt, .md, source code) or that a rule names: a document;
//   - any of the first and last compressed (.gz, .xz, .zst), and within .tar archives.
//
// Hidden files and folders, files of other kinds and binary files are counted and left out. A
// document whose text was there before, apart from white space, is dropped before splits are
// chosen. The domain by path is the first folder below the split's folder, or else below the
// input; a file of records directly there is a domain of its own. Given the same inputs the
// folder is the same to the byte.
func Prepare(ctx context.Context, cfg PrepareConfig) (*Manifest, error) {
	if len(cfg.Inputs) == 0 || cfg.Out == "" || cfg.Tokenizer == "" {
		return nil, wrongConfig("prepare data: inputs, a folder to write and a tokenizer are needed")
	}
	// The caller's lists stay as they are.
	cfg.Rules.Domains = slices.Clone(cfg.Rules.Domains)
	slices.Sort(cfg.Rules.Domains)
	if err := cfg.Rules.complete(); err != nil {
		return nil, fmt.Errorf("prepare data: %w", err)
	}
	compiled, err := compileRules(cfg.Rules.Files)
	if err != nil {
		return nil, fmt.Errorf("prepare data: %w", err)
	}
	out, err := newFolder(cfg.Out, cfg.Replace)
	if err != nil {
		return nil, err
	}
	defer out.discard()
	info, tok, err := copyTokenizer(cfg.Tokenizer, out.temp)
	if err != nil {
		return nil, err
	}
	defer tok.Close()
	p := &preparer{cfg: cfg, tok: tokenizer.ForMany(tok), manifest: &Manifest{Version: manifestVersion, Tokenizer: info, Rules: cfg.Rules},
		seen: map[[16]byte]bool{}, ids: map[[16]byte]bool{}, domains: map[string]bool{}}
	for _, name := range cfg.Rules.Domains {
		p.domains[name] = true
	}
	p.sources = &sources{rules: &p.cfg.Rules, globs: compiled, counts: &p.manifest.Counts, most: cfg.MaxDocument,
		found: func(name string) { p.domains[name] = true }}
	if p.sources.most <= 0 {
		p.sources.most = DefaultMaxDocument
	}
	p.out = &partWriter{dir: out.temp, vocab: info.VocabSize, limit: cfg.ShardTokens, parts: map[[2]string]*openPart{}}
	if p.out.limit <= 0 {
		p.out.limit = defaultShardTokens
	}
	defer p.out.abandon()
	if err := p.run(ctx); err != nil {
		return nil, fmt.Errorf("prepare data: %w", err)
	}
	if err := p.finish(); err != nil {
		return nil, fmt.Errorf("prepare data: %w", err)
	}
	if err := writeManifest(out.temp, p.manifest); err != nil {
		return nil, fmt.Errorf("prepare data: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("prepare data: %w", err)
	}
	return p.manifest, out.commit()
}

// preparer is one run of Prepare. Documents pass three stages: one goroutine reads and
// chooses them, several encode, and run's own writes them in the order in which they were read.
type preparer struct {
	cfg      PrepareConfig
	tok      tokenizer.Tokenizer
	manifest *Manifest
	sources  *sources
	out      *partWriter

	// The reading goroutine's.
	seen, ids map[[16]byte]bool // hashes of texts; of domain and id
	domains   map[string]bool   // that were asked for or found
	batch     *batch
	queue     chan *batch // to the encoders
	order     chan *batch // to the writer
	budget    *budget
	total     int64
	done      atomic.Int64 // bytes read
}

// batch is some documents that are encoded together.
type batch struct {
	docs  []document
	bytes int64
	err   error
	ready chan struct{} // closed when the documents have ids, or err is set
}

// Sizes of a batch, and of all batches between reading and writing. A longer document is a
// batch alone, and is alone in memory.
const (
	batchBytes     = 256 << 10
	batchDocuments = 256
	budgetBytes    = 16 << 20
)

// run passes all documents through.
func (p *preparer) run(ctx context.Context) error {
	for _, input := range p.cfg.Inputs {
		n, err := inputSize(input)
		if err != nil {
			return err
		}
		p.total += n
	}
	workers := p.cfg.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	ctx, cancel := context.WithCancel(ctx)
	p.queue, p.order = make(chan *batch, 2*workers), make(chan *batch, 8*workers)
	p.budget = newBudget(ctx, budgetBytes)
	var group sync.WaitGroup
	defer group.Wait() // after cancel
	defer cancel()
	var readErr error
	group.Go(func() {
		defer close(p.queue)
		defer close(p.order)
		readErr = p.read(ctx)
	})
	for range workers {
		group.Go(func() {
			for b := range p.queue {
				b.err = p.encode(ctx, b)
				close(b.ready)
			}
		})
	}
	for b := range p.order {
		<-b.ready // every batch in order was or is handed to an encoder, or is closed by send
		if b.err != nil {
			return b.err
		}
		if err := p.write(b); err != nil {
			return err
		}
		p.budget.release(b.bytes)
		if p.cfg.Progress != nil {
			p.cfg.Progress(p.done.Load(), p.total)
		}
	}
	return readErr // set before order was closed
}

// read reads all inputs.
func (p *preparer) read(ctx context.Context) error {
	p.sources.advance = func(n int64) { p.done.Add(n) }
	p.sources.emit = func(doc document) error { return p.take(ctx, doc) }
	p.manifest.Sources = make([]Source, len(p.cfg.Inputs))
	for i, input := range p.cfg.Inputs {
		p.sources.source = i
		p.manifest.Sources[i].Name = inputName(input)
		if err := p.sources.input(ctx, input); err != nil {
			return err
		}
	}
	return p.send(ctx)
}

// take drops a document or puts it into a batch.
func (p *preparer) take(ctx context.Context, doc document) error {
	counts := &p.manifest.Counts
	if key := textKey(doc.text); !p.cfg.Rules.KeepDuplicates {
		if p.seen[key] {
			counts.Duplicates++
			return nil
		}
		p.seen[key] = true
	}
	if doc.id != "" && p.cfg.Rules.DuplicateIDs != Keep {
		key := key128(doc.domain + "\x00" + doc.id)
		if p.ids[key] && p.cfg.Rules.DuplicateIDs == Fail {
			return at(doc.where, fmt.Errorf("%w: %.80q in domain %s; skip or keep such documents, or name another id field", ErrDuplicateID, doc.id, doc.domain))
		}
		if p.ids[key] {
			counts.DuplicateIDs++
			return nil
		}
		p.ids[key] = true
	}
	counts.Kept++
	if doc.repaired {
		counts.Repaired++
	}
	source := &p.manifest.Sources[doc.source]
	source.Documents++
	source.Bytes += int64(len(doc.text))
	if p.batch != nil && (p.batch.bytes+int64(len(doc.text)) > batchBytes || len(p.batch.docs) == batchDocuments) {
		if err := p.send(ctx); err != nil {
			return err
		}
	}
	if p.batch == nil {
		p.batch = &batch{ready: make(chan struct{})}
	}
	p.batch.docs = append(p.batch.docs, doc)
	p.batch.bytes += int64(len(doc.text))
	return nil
}

// send hands the current batch to the other stages.
func (p *preparer) send(ctx context.Context) error {
	b := p.batch
	p.batch = nil
	if b == nil {
		return ctx.Err()
	}
	if err := p.budget.acquire(b.bytes); err != nil {
		return err
	}
	select {
	case p.order <- b:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case p.queue <- b:
		return nil
	case <-ctx.Done():
		b.err = ctx.Err()
		close(b.ready)
		return ctx.Err()
	}
}

func (p *preparer) encode(ctx context.Context, b *batch) error {
	for i := range b.docs {
		if err := ctx.Err(); err != nil {
			return err
		}
		doc := &b.docs[i]
		ids, err := p.tok.Encode(doc.text)
		if err != nil {
			return at(doc.where, err)
		}
		doc.ids, doc.bytes, doc.text = ids, int64(len(doc.text)), ""
	}
	return nil
}

func (p *preparer) write(b *batch) error {
	for _, doc := range b.docs {
		if err := p.out.add(doc); err != nil {
			return err
		}
	}
	return nil
}

// finish closes the shards and completes the manifest.
func (p *preparer) finish() error {
	parts, err := p.out.finish()
	if err != nil {
		return err
	}
	catalog, err := domain.Load()
	if err != nil {
		return err
	}
	var names []string
	for name := range p.domains {
		names = append(names, name)
	}
	slices.Sort(names)
	m := p.manifest
	if len(names) == 0 {
		return fmt.Errorf("%w: the inputs hold no text that is read (%d files skipped)", ErrEmptyDomain, m.Counts.SkippedFiles)
	}
	var empty []string
	for i, name := range names {
		if parts[[2]string{Train, name}] == nil {
			empty = append(empty, name)
		}
		d, _ := catalog.Lookup(name)
		m.Domains = append(m.Domains, DomainInfo{ID: i, Name: name, Group: d.Group})
	}
	if len(empty) > 0 {
		return fmt.Errorf("%w to train on: %s", ErrEmptyDomain, strings.Join(empty, ", "))
	}
	for _, split := range splitNames {
		s := SplitInfo{Name: split}
		for _, name := range names {
			if part := parts[[2]string{split, name}]; part != nil {
				s.Domains = append(s.Domains, *part)
			}
		}
		if len(s.Domains) > 0 {
			m.Splits = append(m.Splits, s)
		}
	}
	return nil
}
