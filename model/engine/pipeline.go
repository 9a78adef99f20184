package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// Generate continues a prompt and calls emit for everything that happens, in
// order, from the caller's goroutine: first the prompt's routing, then each token.
// An error of emit ends the request and is returned. A context that ends is no
// error: the result says FinishCancelled and holds what was there.
//
// Errors wrap ErrEmptyPrompt, ErrPromptTooLong, ErrBadRequest or
// tokenizer.ErrInvalidUTF8 where the request is at fault.
func (e *Engine) Generate(ctx context.Context, r Request, emit func(Event) error) (Result, error) {
	if err := r.validate(); err != nil {
		return Result{}, err
	}
	ids, err := e.encodePrompt(r.Prompt, r.NoSpecialTokens)
	if err != nil {
		return Result{}, err
	}
	if r.MaxTokens == 0 {
		r.MaxTokens = e.cfg.MaxTokens
	}
	start := time.Now()
	done, err := e.turn(ctx)
	if err != nil {
		return Result{PromptTokens: len(ids), FinishReason: FinishCancelled, Seed: r.Seed}, nil
	}
	defer done()
	session, err := e.cfg.Model.NewSession(r.Domain)
	if err != nil && r.Domain != "" && !slices.Contains(e.cfg.Info.Domains, r.Domain) {
		err = fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if err != nil {
		return Result{}, err
	}
	defer session.Close()
	g := &generation{
		Engine: e, request: r, session: session, emit: emit, start: start, sampler: newSampler(r.Sampling, ids),
		stop: stopText{stops: r.Stop}, stream: tokenizer.NewStream(e.cfg.Tokenizer, true), trace: newTrace(e.cfg),
		result: Result{PromptTokens: len(ids), Seed: r.Seed, FinishReason: FinishLength},
	}
	err = g.run(ctx, ids)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		g.result.FinishReason, err = FinishCancelled, nil
	}
	g.finish()
	return g.result, err
}

// generation is one running request.
type generation struct {
	*Engine
	request Request
	session *swarm.Session
	emit    func(Event) error
	sampler *sampler
	stop    stopText
	stream  *tokenizer.Stream
	trace   *trace
	text    strings.Builder // the answer
	result  Result

	logits []float32   // after the last token that was read
	ahead  swarm.Draw  // tokens that the device drew and read
	dice   *swarm.Dice // nil where tokens are drawn on the host

	start, first, last time.Time
}

// run is the pipeline: prefill, then draw, show and feed token by token.
func (g *generation) run(ctx context.Context, prompt []int32) error {
	logits, chunks, err := g.session.Feed(ctx, prompt)
	if err != nil {
		return err
	}
	shown, err := g.trace.prompt(prompt, chunks)
	if err != nil {
		return err
	}
	if err := g.follow(prompt); err != nil {
		return err
	}
	g.count(chunks)
	if err := g.emit(Event{Token: -1, Chunks: shown}); err != nil {
		return err
	}
	g.logits = logits
	if g.drawsOnDevice() {
		if g.dice, err = g.cfg.Model.Dice(g.request.Seed, g.request.Temperature); err != nil {
			return err
		}
		defer g.dice.Close()
	}
	for {
		id, logprob, top := g.choose()
		if g.last = time.Now(); g.first.IsZero() {
			g.first = g.last
		}
		if slices.Contains(g.cfg.EOS, id) {
			g.result.FinishReason = FinishStop
			if err := g.trace.end(); err != nil {
				return err
			}
			return g.flush()
		}
		g.result.CompletionTokens++
		stopped, err := g.show(Event{Token: int(id), Logprob: logprob, Top: g.texts(top)}, id)
		if err != nil || stopped {
			return err
		}
		if g.result.CompletionTokens == g.request.MaxTokens {
			return g.flush()
		}
		if err := g.read(ctx, id); err != nil {
			return err
		}
	}
}

// drawsOnDevice reports whether tokens may be drawn without the host: nothing but
// the temperature shapes the distribution, and no alternatives are reported.
func (g *generation) drawsOnDevice() bool {
	s := g.request.Sampling
	penalties := s.RepetitionPenalty != 0 && s.RepetitionPenalty != 1 || s.PresencePenalty != 0
	cuts := s.TopK > 0 || s.TopP > 0 && s.TopP < 1 || s.MinP > 0
	return g.cfg.Model.Draws() && !penalties && g.request.Logprobs == 0 && (s.Temperature == 0 || !cuts)
}

// choose returns the next token: one that the device drew ahead, else one drawn from
// the last logits.
func (g *generation) choose() (id int32, logprob float64, top []TokenLogprob) {
	if len(g.ahead.IDs) > 0 {
		id, logprob = g.ahead.IDs[0], g.ahead.Logprobs[0]
		g.ahead.IDs, g.ahead.Logprobs = g.ahead.IDs[1:], g.ahead.Logprobs[1:]
		return id, logprob, nil
	}
	id = g.sampler.next(g.logits)
	logprob, top = logprobs(g.logits, id, g.request.Logprobs)
	return id, logprob, top
}

// read makes the model read a token, unless the device did when it drew ahead.
func (g *generation) read(ctx context.Context, id int32) (err error) {
	var chunks []router.Chunk
	switch {
	case len(g.ahead.IDs) > 0:
		return errors.Join(ctx.Err(), g.trace.token(id, nil))
	case g.dice != nil && g.session.DrawLength() > 0:
		g.ahead, err = g.session.Draw(ctx, id, g.dice)
		chunks = g.ahead.Chunks
	default:
		g.logits, chunks, err = g.session.Feed(ctx, []int32{id})
	}
	if err != nil {
		return err
	}
	g.count(chunks)
	return g.trace.token(id, chunks)
}

// follow lets the answer's text go on from the prompt's, as a token may read
// differently at the beginning of a text, where SentencePiece drops its space: the
// stream begins with the prompt's last token that is text by itself.
func (g *generation) follow(prompt []int32) error {
	for _, id := range slices.Backward(prompt) {
		token, _ := g.cfg.Tokenizer.TokenText(id)
		if isByte := strings.HasPrefix(token, "<0x"); isByte || g.cfg.Tokenizer.IsSpecial(id) {
			continue
		}
		text, err := g.stream.Push(id)
		if err != nil || text != "" {
			return err
		}
		g.stream = tokenizer.NewStream(g.cfg.Tokenizer, true)
	}
	return nil
}

// show emits a token with the text that it makes final. It reports whether a stop
// string ended the answer.
func (g *generation) show(ev Event, id int32) (stopped bool, err error) {
	text, err := g.stream.Push(id)
	if err != nil {
		return false, err
	}
	ev.Text, stopped = g.stop.push(text)
	if stopped || g.result.CompletionTokens == g.request.MaxTokens {
		if err := g.trace.end(id); err != nil {
			return false, err
		}
	}
	ev.Chunks = g.trace.changed()
	g.text.WriteString(ev.Text)
	if stopped {
		g.result.FinishReason = FinishStop
	}
	return stopped, g.emit(ev)
}

// flush emits the text that was held back at the end of an answer.
func (g *generation) flush() error {
	rest, err := g.stream.Flush()
	if err != nil {
		return err
	}
	text, stopped := g.stop.push(rest)
	if !stopped {
		text += g.stop.flush()
	} else {
		g.result.FinishReason = FinishStop
	}
	chunks := g.trace.changed()
	if text == "" && len(chunks) == 0 {
		return nil
	}
	g.text.WriteString(text)
	return g.emit(Event{Text: text, Token: -1, Chunks: chunks})
}

// texts fills in the alternatives' tokens as text.
func (g *generation) texts(top []TokenLogprob) []TokenLogprob {
	for i := range top {
		text, err := g.cfg.Tokenizer.Decode([]int32{int32(top[i].Token)}, false)
		if err == nil {
			top[i].Text = text
		}
	}
	return top
}

// count adds up the slots whose encoder changed.
func (g *generation) count(chunks []router.Chunk) {
	for _, c := range chunks {
		for _, changed := range c.Changed {
			if changed {
				g.result.EncoderSwaps++
			}
		}
	}
}

// finish fills in what is known at the end.
func (g *generation) finish() {
	g.result.Text, g.result.Chunks = g.text.String(), g.trace.chunks
	if g.first.IsZero() {
		return
	}
	g.result.FirstTokenMS = float64(g.first.Sub(g.start).Microseconds()) / 1000
	if n := g.result.CompletionTokens - 1; n > 0 && g.last.After(g.first) {
		g.result.TokensPerSecond = float64(n) / g.last.Sub(g.first).Seconds()
	}
}
