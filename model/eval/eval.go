// Package eval measures how good a model is: likelihood of held-out text by domain, how
// well the router knows a domain and the specialist its own, tasks, retrieval over long
// texts, samples, and what all this costs.
//
//	report, err := eval.Run(ctx, eval.Config{Model: model, Tokenizer: tok, Data: "data", Split: data.Valid})
//	fmt.Println(report.Text.Mean.BitsPerByte)
//
// A document is read from its start, by itself and whole: long ones go through the model
// in windows that hand the state on, so that no token is judged without what stands
// before it. The first id of a document, which nothing stands before, is given and not
// judged; where a tokenizer puts no token before a text, that is the text's first token,
// whose bytes count all the same.
//
// What is reported of several domains is the unweighted mean over domains, unless it
// says otherwise.
package eval

import (
	"context"
	"errors"
	"fmt"

	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// Config says what is measured. Model and Tokenizer are needed; a part whose setting is
// zero is left out.
type Config struct {
	Model     *swarm.Model
	Tokenizer tokenizer.Tokenizer
	// TokenizerSHA256 is the digest of the tokenizer's file, which must be the data's.
	TokenizerSHA256 string

	Data     string // folder of data.Prepare
	Split    string // of the data; empty is data.Valid
	MaxBytes int64  // of text of each domain; 0 reads all of it
	// ProbeBytes is how much text of each domain, of what MaxBytes allows, is read again:
	// for each number of active encoders, for each swapped one, and to measure cost. 0 is
	// DefaultProbeBytes.
	ProbeBytes int64
	RowLength  int // tokens of packed rows, as the trainer's validation reads them

	// MaxActive is the largest number of active encoders that is tried, from 1 on. Load
	// must then give the model under another configuration; Run closes it.
	MaxActive int
	Load      func(swarm.Config) (*swarm.Model, error)
	Swaps     int // other specialists, at most, that read each domain which has one

	Tasks  []TaskSet
	Needle []int // lengths in tokens

	Samples      int             // texts to write, each of another domain
	SampleTokens int             // of each; 0 is the engine's default
	Sampling     engine.Sampling // but for the seed
	Engine       *engine.Engine  // needed for samples

	Cost  bool   // measure speed, and energy where there is a Meter
	Meter Meter  // nil: energy is not available
	Seed  uint64 // of whatever is drawn: which documents, needles, samples

	// Progress is told how far a part of the work is; may be nil.
	Progress func(part string, done, total int64)
}

// DefaultProbeBytes of each domain are read again and again.
const DefaultProbeBytes = 16 << 10

// SettleTokens is how much of a text the router may read before it is judged.
const SettleTokens = 128

// ErrConfig is wrapped by errors about a setting that is wrong or does not fit model or
// data.
var ErrConfig = errors.New("wrong setting")

type configError struct{ message string }

func (e configError) Error() string   { return e.message }
func (e configError) Is(t error) bool { return t == ErrConfig }

func wrong(format string, args ...any) error { return configError{fmt.Sprintf(format, args...)} }

// evaluator is one run.
type evaluator struct {
	Config
	texts []domainTexts // what of the data is read, by domain
	probe []domainTexts // the part of it that is read again
	plain bool
}

// Run measures. What it returns is complete: an error, or a context that ends, leaves
// nothing.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	e := &evaluator{Config: cfg, plain: cfg.Model.Config().Plain()}
	if e.Split == "" {
		e.Split = data.Valid
	}
	if e.ProbeBytes == 0 {
		e.ProbeBytes = DefaultProbeBytes
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	r := &Report{Version: reportVersion, Seed: e.Seed, Model: describe(e.Model)}
	if e.Data != "" {
		info, err := e.readTexts(ctx)
		if err != nil {
			return nil, err
		}
		r.Data = info
	}
	for _, part := range []struct {
		wanted bool
		run    func(context.Context, *Report) error
	}{
		{e.Data != "", e.heldOut},
		{e.RowLength > 0, e.packedRows},
		{e.MaxActive > 0 && !e.plain, e.activeSweep},
		{e.Swaps > 0 && !e.plain, e.swapTest},
		{len(e.Tasks) > 0, e.taskSets},
		{len(e.Needle) > 0, e.needles},
		{e.Samples > 0, e.samples},
		{e.Cost, e.cost},
	} {
		if !part.wanted {
			continue
		}
		if err := part.run(ctx, r); err != nil {
			return nil, err
		}
	}
	return r, ctx.Err()
}

// check returns the first setting that is wrong.
func (e *evaluator) check() error {
	switch {
	case e.MaxBytes < 0 || e.ProbeBytes < 0:
		return wrong("bytes of a domain must be 0 or more")
	case e.Data == "" && len(e.Tasks) == 0:
		return wrong("nothing to measure: name prepared data, or tasks")
	case e.Data == "" && (e.RowLength > 0 || len(e.Needle) > 0 || e.Samples > 0 || e.Cost):
		return wrong("rows, needles, samples and cost are measured with text: name prepared data")
	case e.RowLength < 0 || e.MaxActive < 0 || e.Swaps < 0 || e.Samples < 0 || e.SampleTokens < 0:
		return wrong("row length, active encoders, swaps, samples and their tokens must be 0 or more")
	case e.Samples > 0 && e.Engine == nil:
		return errors.New("samples need an engine")
	case e.MaxActive > 0 && !e.plain && e.Load == nil:
		return errors.New("other numbers of active encoders need a way to load the model")
	case !e.plain && e.MaxActive > e.Model.Config().Router.NumEncoders:
		return wrong("%d active encoders are more than the model's %d", e.MaxActive, e.Model.Config().Router.NumEncoders)
	}
	for _, n := range e.Needle {
		if n < minNeedle || n > maxNeedle {
			return wrong("a needle's text of %d tokens; it must have %d to %d", n, minNeedle, maxNeedle)
		}
	}
	return nil
}

// tell reports progress.
func (e *evaluator) tell(part string, done, total int64) {
	if e.Progress != nil {
		e.Progress(part, done, total)
	}
}

// judge judges texts and gives the results in their order.
func (e *evaluator) judge(ctx context.Context, part string, m *swarm.Model, texts []swarm.Text) ([]swarm.Judged, error) {
	var done, total int64
	for _, t := range texts {
		total += int64(len(t.IDs))
	}
	all := make([]swarm.Judged, len(texts))
	err := m.Judge(ctx, texts, func(i int, j swarm.Judged) error {
		all[i] = j
		done += int64(len(texts[i].IDs))
		e.tell(part, done, total)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", part, err)
	}
	return all, nil
}

// describe says what is measured.
func describe(m *swarm.Model) Model {
	c := m.Config()
	total, active := c.Parameters()
	info := Model{
		Base: string(c.Base.Kind), Parameters: int64(total), ActiveParameters: int64(active),
		Layers: c.Base.NLayer, ActiveLayers: c.Base.NLayer, HiddenSize: c.Base.DModel, DType: string(m.Precision()),
		FLOPs: c.FLOPs(), MemoryBytes: c.MemoryBytes(m.Precision()),
	}
	if !c.Plain() {
		info.Encoders, info.Active, info.EncoderLayers = c.Router.NumEncoders, c.Router.EncodersPerToken, c.NumEncoderLayers
		info.Domains = c.Router.Domains
		info.ActiveLayers += (c.Slots() - 1) * c.NumEncoderLayers
	}
	return info
}
