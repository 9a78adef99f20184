// Package engine answers requests with a loaded model: text to ids, prefill,
// decoding, sampling, and text again, token by token, with the router's decisions
// as they are made.
//
//	e, err := engine.New(engine.Config{Model: model, Tokenizer: tok})
//	result, err := e.Generate(ctx, engine.Request{Prompt: "The"}, func(ev engine.Event) error {
//		fmt.Print(ev.Text)
//		return nil
//	})
//
// A request holds one [swarm.Session], whose size does not grow with the text. A
// context that ends stops the model within one token, on a GPU within eight.
package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// Config says what an engine runs and what a request gets that does not ask for
// anything else.
type Config struct {
	Model     *swarm.Model
	Tokenizer tokenizer.Tokenizer
	EOS       []int32 // tokens that end an answer

	Info           Info // Name, model types and GrownFrom are the caller's; New fills the rest
	MaxTokens      int  // for requests without a limit; 0 means 128
	MaxPromptBytes int  // longer prompts are refused; 0 means 4 MiB
	Concurrency    int  // requests that run at once, others wait; 0 means 4
}

// Engine answers requests. It may be used by several goroutines at once.
type Engine struct {
	cfg   Config
	turns chan struct{}
}

// Defaults of a Config.
const (
	DefaultMaxTokens      = 128
	DefaultMaxPromptBytes = 4 << 20
	DefaultConcurrency    = 4
)

// Errors that callers tell apart; all others are faults of the model or machine.
var (
	ErrEmptyPrompt   = errors.New("the prompt is empty; give at least one character")
	ErrPromptTooLong = errors.New("the prompt is too long")
	ErrBadRequest    = errors.New("the request is invalid")
	ErrDamaged       = swarm.ErrNotFinite // the weights, or the arithmetic, gave NaN or infinity
)

// FetchError is the error about an encoder that could not be brought from where the
// model lies.
type FetchError = swarm.FetchError

// New returns an engine for a model.
func New(cfg Config) (*Engine, error) {
	if cfg.Model == nil || cfg.Tokenizer == nil {
		return nil, errors.New("an engine needs a model and a tokenizer")
	}
	c := cfg.Model.Config()
	if n := cfg.Tokenizer.VocabSize(); n > c.Base.VocabSize {
		return nil, fmt.Errorf("the tokenizer has %d ids, the model only %d; they do not belong together", n, c.Base.VocabSize)
	}
	if cfg.MaxTokens == 0 {
		cfg.MaxTokens = DefaultMaxTokens
	}
	if cfg.MaxPromptBytes == 0 {
		cfg.MaxPromptBytes = DefaultMaxPromptBytes
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = DefaultConcurrency
	}
	cfg.Info = describe(cfg.Info, cfg.Model)
	return &Engine{cfg: cfg, turns: make(chan struct{}, cfg.Concurrency)}, nil
}

// describe fills what the model itself knows.
func describe(info Info, m *swarm.Model) Info {
	c := m.Config()
	total, active := c.Parameters()
	info.Parameters, info.ActiveParameters = int64(total), int64(active)
	info.NumEncoders, info.EncodersPerToken = c.Router.NumEncoders, c.Router.EncodersPerToken
	info.NumEncoderLayers, info.NumLayers = c.NumEncoderLayers, c.Base.NLayer
	info.HiddenSize, info.VocabSize = c.Base.DModel, c.Base.VocabSize
	info.ChunkLength, info.Granularity = c.Router.ChunkLength, string(c.Router.Granularity)
	info.Domains = slices.Clone(c.Router.Domains)
	info.DType = string(m.Precision())
	return info
}

// Info describes the model.
func (e *Engine) Info() Info { return e.cfg.Info }

// Warm compiles what a short prompt needs, in the background.
func (e *Engine) Warm() { e.cfg.Model.Warm(16) }

// turn waits until the request may run. The caller calls the returned function at
// its end.
func (e *Engine) turn(ctx context.Context) (func(), error) {
	select {
	case e.turns <- struct{}{}:
		return func() { <-e.turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// encodePrompt checks a prompt and turns it into ids.
func (e *Engine) encodePrompt(text string, plain bool) ([]int32, error) {
	if text == "" {
		return nil, ErrEmptyPrompt
	}
	if len(text) > e.cfg.MaxPromptBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrPromptTooLong, len(text), e.cfg.MaxPromptBytes)
	}
	encode := e.cfg.Tokenizer.Encode
	if plain {
		encode = e.cfg.Tokenizer.EncodePlain
	}
	ids, err := encode(text)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, ErrEmptyPrompt
	}
	return ids, nil
}
