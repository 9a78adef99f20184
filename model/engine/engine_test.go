package engine

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

const prompt = "the cat sat on the mat"

// TestGreedy compares with a loop that reads the whole text anew for every token.
func TestGreedy(t *testing.T) {
	for name, c := range map[string]swarm.Config{"swarm": tinyConfig(), "plain": plain(tinyConfig())} {
		e := newEngine(t, c, Config{})
		ids, err := e.cfg.Tokenizer.Encode(prompt)
		if err != nil {
			t.Fatal(err)
		}
		var want []int32
		for range 20 {
			all := rows(t, e.cfg.Model, append(slices.Clone(ids), want...))
			want = append(want, argmax(all[len(all)-1]))
		}
		result, events := generate(t, e, Request{Prompt: prompt, MaxTokens: 20})
		if diff := cmp.Diff(want, tokens(events)); diff != "" {
			t.Errorf("%s: tokens (-want +got):\n%s", name, diff)
		}
		text, err := e.cfg.Tokenizer.Decode(want, true)
		if err != nil || result.Text != text {
			t.Errorf("%s: text %q, want %q (%v)", name, result.Text, text, err)
		}
		if result.PromptTokens != len(ids) || result.CompletionTokens != 20 || result.FinishReason != FinishLength {
			t.Errorf("%s: %+v", name, result)
		}
		if slices.Max(want) == slices.Min(want) {
			t.Errorf("%s: the model repeats one token; the test compares nothing", name)
		}
	}
}

func argmax(logits []float32) int32 {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return int32(best)
}

// TestLogprobs compares with log-softmax in float64 of the logits of one pass over
// the whole text.
func TestLogprobs(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{})
	_, events := generate(t, e, Request{Prompt: prompt, MaxTokens: 12, Logprobs: 5,
		Sampling: Sampling{Temperature: 2, TopK: 20, RepetitionPenalty: 1.5, Seed: 3}})
	ids, err := e.cfg.Tokenizer.Encode(prompt)
	if err != nil {
		t.Fatal(err)
	}
	answer := tokens(events)
	all := rows(t, e.cfg.Model, append(slices.Clone(ids), answer...))
	n := 0
	for _, ev := range events {
		if ev.Token < 0 {
			continue
		}
		want := logSoftmax(all[len(ids)-1+n])
		n++
		if d := math.Abs(ev.Logprob - want[ev.Token]); !(d <= 1e-4) {
			t.Errorf("token %d: log-probability %v, want %v", n, ev.Logprob, want[ev.Token])
		}
		if len(ev.Top) != 5 {
			t.Fatalf("token %d: %d alternatives, want 5", n, len(ev.Top))
		}
		better := 0
		for _, p := range want {
			if p > ev.Top[4].Logprob+1e-4 {
				better++
			}
		}
		for i, top := range ev.Top {
			if d := math.Abs(top.Logprob - want[top.Token]); !(d <= 1e-4) || i > 0 && top.Logprob > ev.Top[i-1].Logprob {
				t.Errorf("token %d, alternative %d: %+v, want %v", n, i, top, want[top.Token])
			}
			text, err := e.cfg.Tokenizer.Decode([]int32{int32(top.Token)}, false)
			if err != nil || top.Text != text {
				t.Errorf("alternative %d: text %q, want %q", top.Token, top.Text, text)
			}
		}
		if better > 4 {
			t.Errorf("token %d: %d tokens are likelier than the last of 5 alternatives", n, better)
		}
	}
}

func logSoftmax(logits []float32) []float64 {
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v))
	}
	out := make([]float64, len(logits))
	for i, v := range logits {
		out[i] = float64(v) - math.Log(sum)
	}
	return out
}

// TestSeed: the same seed gives the same text, another one another text.
func TestSeed(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{})
	run := func(seed uint64) Result {
		r, _ := generate(t, e, Request{Prompt: prompt, MaxTokens: 30, Sampling: Sampling{Temperature: 1, TopP: 0.95, Seed: seed}})
		return r
	}
	a, b, c := run(1), run(1), run(2)
	if a.Text != b.Text || a.Seed != 1 {
		t.Errorf("seed 1 gives %q and %q", a.Text, b.Text)
	}
	if a.Text == c.Text {
		t.Errorf("seeds 1 and 2 both give %q", a.Text)
	}
}

// TestStop: the answer ends before the first stop string wherever token borders are.
func TestStop(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{})
	sampling := Sampling{Temperature: 1.2, TopK: 40, Seed: 5}
	whole, _ := generate(t, e, Request{Prompt: prompt, MaxTokens: 40, Sampling: sampling})
	text := []rune(whole.Text)
	if len(text) < 20 {
		t.Fatalf("the answer %q is too short for this test", whole.Text)
	}
	for start := 0; start+3 < len(text); start += 2 {
		for _, stops := range [][]string{{string(text[start : start+1])}, {string(text[start : start+3])}, {"never in it", string(text[start : start+2]), string(text[start+1:])}} {
			want := whole.Text
			for _, stop := range stops {
				if i := strings.Index(want, stop); i >= 0 {
					want = want[:i]
				}
			}
			got, events := generate(t, e, Request{Prompt: prompt, MaxTokens: 40, Stop: stops, Sampling: sampling})
			if got.Text != want || got.FinishReason != FinishStop {
				t.Errorf("stop %q: %q (%s), want %q", stops, got.Text, got.FinishReason, want)
			}
			if streamed := joined(events); streamed != got.Text {
				t.Errorf("stop %q: streamed %q, result %q", stops, streamed, got.Text)
			}
		}
	}
	got, _ := generate(t, e, Request{Prompt: prompt, MaxTokens: 40, Stop: []string{"never in it"}, Sampling: sampling})
	if got.Text != whole.Text || got.FinishReason != FinishLength {
		t.Errorf("a stop string that does not occur: %q (%s), want %q", got.Text, got.FinishReason, whole.Text)
	}
}

func joined(events []Event) string {
	var b strings.Builder
	for _, ev := range events {
		b.WriteString(ev.Text)
	}
	return b.String()
}

// TestEOS makes the fourth token of an answer its end.
func TestEOS(t *testing.T) {
	m := newEngine(t, tinyConfig(), Config{})
	sampling := Sampling{Temperature: 1, Seed: 8}
	_, events := generate(t, m, Request{Prompt: prompt, MaxTokens: 10, Sampling: sampling})
	ids := tokens(events)
	if slices.Contains(ids[:3], ids[3]) {
		t.Fatalf("the fourth token of %v came before", ids)
	}
	cfg := m.cfg
	cfg.EOS = []int32{263, ids[3]}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	result, events := generate(t, e, Request{Prompt: prompt, MaxTokens: 10, Sampling: sampling})
	if diff := cmp.Diff(ids[:3], tokens(events)); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
	text, err := cfg.Tokenizer.Decode(ids[:3], true)
	if err != nil || result.Text != text || result.CompletionTokens != 3 || result.FinishReason != FinishStop {
		t.Errorf("%+v, want the text %q of 3 tokens and %s", result, text, FinishStop)
	}
}

// TestMaxTokens: the request's limit, else the engine's.
func TestMaxTokens(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{MaxTokens: 3})
	for asked, want := range map[int]int{0: 3, 1: 1, 7: 7} {
		result, events := generate(t, e, Request{Prompt: prompt, MaxTokens: asked})
		if result.CompletionTokens != want || len(tokens(events)) != want || result.FinishReason != FinishLength {
			t.Errorf("max tokens %d: %d tokens, %d events, %s; want %d", asked, result.CompletionTokens, len(tokens(events)), result.FinishReason, want)
		}
	}
}

// TestStream: pieces add up to the result, every piece is valid UTF-8 of its own, and
// prompts of several bytes a character come through.
func TestStream(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{})
	for seed := range uint64(8) {
		result, events := generate(t, e, Request{Prompt: "naïve 🎉", MaxTokens: 40, Sampling: Sampling{Temperature: 3, Seed: seed}})
		whole, err := e.cfg.Tokenizer.Decode(tokens(events), true)
		if err != nil {
			t.Fatal(err)
		}
		if result.Text != whole || joined(events) != whole {
			t.Errorf("seed %d: streamed %q, result %q, want %q", seed, joined(events), result.Text, whole)
		}
	}
}

// TestSentencePiece: tokenizers whose pieces begin with their space. The answer is
// what the whole text has more than the prompt.
func TestSentencePiece(t *testing.T) {
	for _, name := range []string{"spm", "spm_prefix", "prefix", "unigram"} {
		tok := loadTokenizer(t, filepath.Join("..", "tokenizer", "testdata", name))
		c := plain(tinyConfig())
		c.Base.VocabSize = tok.VocabSize()
		e, spaces := newEngine(t, c, Config{Tokenizer: tok}), 0
		for seed := range uint64(100) {
			ids, err := tok.Encode(prompt + " c") // ends in single bytes for some of them
			if err != nil {
				t.Fatal(err)
			}
			before, err := tok.Decode(ids, true)
			if err != nil {
				t.Fatal(err)
			}
			result, events := generate(t, e, Request{Prompt: prompt + " c", MaxTokens: 3, Sampling: Sampling{Temperature: 1e6, Seed: seed}})
			first, _ := tok.TokenText(tokens(events)[0])
			if strings.HasPrefix(first, "<0x") {
				continue // bytes that would become one run with the prompt's
			}
			if strings.HasPrefix(first, "▁") {
				spaces++
			}
			whole, err := tok.Decode(append(ids, tokens(events)...), true)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.TrimPrefix(whole, before); result.Text != want || joined(events) != want {
				t.Errorf("%s, seed %d: %q, streamed %q, want %q", name, seed, result.Text, joined(events), want)
			}
		}
		if spaces == 0 && name != "prefix" {
			t.Errorf("%s: no answer begins with a space; the test compares nothing", name)
		}
	}
}

// TestTrace: the chunks cover prompt and answer without gaps, their texts are those of
// their tokens, and the last version of each chunk is that of the result.
func TestTrace(t *testing.T) {
	for name, c := range map[string]swarm.Config{"swarm": tinyConfig(), "plain": plain(tinyConfig())} {
		e := newEngine(t, c, Config{})
		for _, n := range []int{1, 2, 3, 17} {
			result, events := generate(t, e, Request{Prompt: prompt, MaxTokens: n, Sampling: Sampling{Temperature: 1, Seed: 4}})
			ids, err := e.cfg.Tokenizer.Encode(prompt)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, tokens(events)...)
			at, text, swaps := 0, "", 0
			for i, chunk := range result.Chunks {
				if chunk.Start != at {
					t.Errorf("%s: chunk %d begins at %d, want %d", name, i, chunk.Start, at)
				}
				if chunk.Prompt != (chunk.Start < result.PromptTokens) {
					t.Errorf("%s: chunk %d at %d: prompt %v", name, i, chunk.Start, chunk.Prompt)
				}
				sum := 0.0
				for _, use := range chunk.Encoders {
					sum += use.Weight
					if use.Domain != c.Router.Domains[use.Encoder] {
						t.Errorf("%s: chunk %d: %+v", name, i, use)
					}
					if use.Changed {
						swaps++
					}
				}
				if want := c.Slots(); len(chunk.Encoders) != want || want > 0 && math.Abs(sum-1) > 1e-9 {
					t.Errorf("%s: chunk %d: %d encoders of weight %v, want %d of 1", name, i, len(chunk.Encoders), sum, want)
				}
				at, text = chunk.End, text+chunk.Text
			}
			whole, err := e.cfg.Tokenizer.Decode(ids, true)
			if err != nil {
				t.Fatal(err)
			}
			if at != len(ids) || text != whole {
				t.Errorf("%s, %d tokens: chunks end at %d with %q, want %d with %q", name, n, at, text, len(ids), whole)
			}
			if result.EncoderSwaps != swaps {
				t.Errorf("%s: %d swaps, the chunks have %d", name, result.EncoderSwaps, swaps)
			}
			if diff := cmp.Diff(result.Chunks, merged(events)); diff != "" {
				t.Errorf("%s: chunks of the events (-result +events):\n%s", name, diff)
			}
		}
	}
}

// merged applies the events' chunks as a reader would: a later chunk with the same
// start replaces the earlier one.
func merged(events []Event) []Chunk {
	var all []Chunk
	for _, ev := range events {
		for _, c := range ev.Chunks {
			if i := slices.IndexFunc(all, func(o Chunk) bool { return o.Start == c.Start }); i >= 0 {
				all[i] = c
			} else {
				all = append(all, c)
			}
		}
	}
	return all
}

// TestCancel ends the context at the third token: no further one follows.
func TestCancel(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{})
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	result, err := e.Generate(ctx, Request{Prompt: prompt, MaxTokens: 100}, func(ev Event) error {
		if ev.Token >= 0 {
			if n++; n == 3 {
				cancel()
			}
		}
		return nil
	})
	if err != nil || result.FinishReason != FinishCancelled || n != 3 || result.CompletionTokens != 3 {
		t.Errorf("%d tokens, result %+v, error %v", n, result, err)
	}
	result, err = e.Generate(ctx, Request{Prompt: prompt}, func(Event) error { return errTest })
	if err != nil || result.FinishReason != FinishCancelled || result.PromptTokens == 0 {
		t.Errorf("a context that has ended: %+v, %v", result, err)
	}
}

// TestDeadline: a deadline is a cancellation too.
func TestDeadline(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	result, err := e.Generate(ctx, Request{Prompt: prompt, MaxTokens: 1 << 30}, func(Event) error { return nil })
	if err != nil || result.FinishReason != FinishCancelled {
		t.Errorf("%s, %v", result.FinishReason, err)
	}
}

// TestEmitError: the caller's error ends the request and comes back, and the engine
// goes on answering.
func TestEmitError(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{Concurrency: 1})
	for _, at := range []int{0, 1, 4} {
		n := 0
		_, err := e.Generate(t.Context(), Request{Prompt: prompt, MaxTokens: 10}, func(Event) error {
			if n++; n > at {
				return errTest
			}
			return nil
		})
		if !errors.Is(err, errTest) || n != at+1 {
			t.Errorf("error at event %d: %d events, %v", at, n, err)
		}
	}
	generate(t, e, Request{Prompt: prompt, MaxTokens: 1})
}

// TestQueue: with one turn a second request waits, and may give up while it does.
func TestQueue(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{Concurrency: 1})
	_, err := e.Generate(t.Context(), Request{Prompt: prompt, MaxTokens: 1}, func(Event) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		result, err := e.Generate(ctx, Request{Prompt: prompt}, func(Event) error { return errTest })
		if err != nil || result.FinishReason != FinishCancelled {
			t.Errorf("a request that waits: %+v, %v", result, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestConcurrency: requests at once have the answers that they have alone.
func TestConcurrency(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{Concurrency: 3})
	requests := make([]Request, 8)
	want := make([]Result, len(requests))
	for i := range requests {
		requests[i] = Request{Prompt: prompt[i:], MaxTokens: 15, Sampling: Sampling{Temperature: 1, Seed: uint64(i)}}
		want[i], _ = generate(t, e, requests[i])
	}
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() {
			got, err := e.Generate(t.Context(), r, func(Event) error { return nil })
			if err != nil {
				t.Error(err)
			}
			if got.Text != want[i].Text {
				t.Errorf("request %d: %q, alone %q", i, got.Text, want[i].Text)
			}
			if diff := cmp.Diff(want[i].Chunks, got.Chunks); diff != "" {
				t.Errorf("request %d: chunks (-alone +together):\n%s", i, diff)
			}
		})
	}
	wg.Wait()
}

// TestDomain: the hint's encoders run first.
func TestDomain(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{})
	result, _ := generate(t, e, Request{Prompt: prompt, MaxTokens: 1, Domain: "law"})
	if c := result.Chunks[0]; c.Encoders[0].Domain != "law" || c.Reason != "domain" {
		t.Errorf("first chunk %+v", c)
	}
}

// TestSpecialTokens: a chat template's prompt gets no second first token.
func TestSpecialTokens(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{})
	with, _ := generate(t, e, Request{Prompt: "ab", MaxTokens: 1})
	without, _ := generate(t, e, Request{Prompt: "<|endoftext|>ab", MaxTokens: 1, NoSpecialTokens: true})
	if with.PromptTokens != 3 || without.PromptTokens != 3 {
		t.Errorf("%d and %d tokens, want 3", with.PromptTokens, without.PromptTokens)
	}
}

// TestRefused has one case for each error of a request.
func TestRefused(t *testing.T) {
	e := newEngine(t, tinyConfig(), Config{MaxPromptBytes: 10})
	for name, c := range map[string]struct {
		request Request
		is      error
		says    string
	}{
		"empty":               {Request{}, ErrEmptyPrompt, "at least one character"},
		"long":                {Request{Prompt: "eleven char"}, ErrPromptTooLong, "11 bytes, at most 10"},
		"not UTF-8":           {Request{Prompt: "a\xffb"}, tokenizer.ErrInvalidUTF8, "UTF-8"},
		"max tokens":          {Request{Prompt: "a", MaxTokens: -1}, ErrBadRequest, "max_tokens: -1 is negative"},
		"temperature":         {Request{Prompt: "a", Sampling: Sampling{Temperature: -0.5}}, ErrBadRequest, "temperature: -0.5"},
		"temperature NaN":     {Request{Prompt: "a", Sampling: Sampling{Temperature: math.NaN()}}, ErrBadRequest, "temperature: NaN"},
		"temperature Inf":     {Request{Prompt: "a", Sampling: Sampling{Temperature: math.Inf(1)}}, ErrBadRequest, "temperature: +Inf"},
		"top-k":               {Request{Prompt: "a", Sampling: Sampling{TopK: -2}}, ErrBadRequest, "top_k: -2"},
		"top-p":               {Request{Prompt: "a", Sampling: Sampling{TopP: 1.5}}, ErrBadRequest, "top_p: 1.5"},
		"min-p":               {Request{Prompt: "a", Sampling: Sampling{MinP: math.NaN()}}, ErrBadRequest, "min_p: NaN"},
		"repetition penalty":  {Request{Prompt: "a", Sampling: Sampling{RepetitionPenalty: -1}}, ErrBadRequest, "repetition_penalty: -1"},
		"presence penalty":    {Request{Prompt: "a", Sampling: Sampling{PresencePenalty: math.Inf(-1)}}, ErrBadRequest, "presence_penalty: -Inf"},
		"logprobs":            {Request{Prompt: "a", Logprobs: 101}, ErrBadRequest, "logprobs: 101 must be between 0 and 100"},
		"stop":                {Request{Prompt: "a", Stop: []string{""}}, ErrBadRequest, "stop: an empty string"},
		"several":             {Request{Prompt: "a", MaxTokens: -1, Sampling: Sampling{TopK: -1}}, ErrBadRequest, "max_tokens: -1 is negative; top_k: -1 is negative"},
		"domain":              {Request{Prompt: "a", Domain: "cooking"}, ErrBadRequest, `unknown domain "cooking"`},
		"empty after control": {Request{Prompt: "", NoSpecialTokens: true}, ErrEmptyPrompt, "empty"},
	} {
		result, err := e.Generate(t.Context(), c.request, func(Event) error { return errTest })
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want %q", name, err, c.says)
		}
		if result.Text != "" || result.CompletionTokens != 0 {
			t.Errorf("%s: a refused request has the result %+v", name, result)
		}
	}
}

// TestNewErrors: what does not belong together is refused.
func TestNewErrors(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "needs a model and a tokenizer") {
		t.Errorf("nothing given: %v", err)
	}
	c := plain(tinyConfig())
	c.Base.VocabSize = 259
	m, err := swarm.Load(testkit.Backend(t, backend.Go), c, randomWeights(c, 1), swarm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := New(Config{Model: m, Tokenizer: tinyTokenizer(t)}); err == nil || !strings.Contains(err.Error(), "260 ids, the model only 259") {
		t.Errorf("tokenizer larger than the vocabulary: %v", err)
	}
}

// TestNotFinite: weights that are NaN end a request before its first token.
func TestNotFinite(t *testing.T) {
	c := tinyConfig()
	w := randomWeights(c, 1)
	w["backbone.layers.1.mixer.D"].values[2] = float32(math.NaN())
	m, err := swarm.Load(testkit.Backend(t, backend.Go), c, w, swarm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e, err := New(Config{Model: m, Tokenizer: tinyTokenizer(t)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Generate(t.Context(), Request{Prompt: prompt}, func(ev Event) error {
		t.Errorf("event %+v", ev)
		return nil
	})
	if !errors.Is(err, swarm.ErrNotFinite) || !strings.Contains(err.Error(), "backbone.layers.1.mixer.D") {
		t.Errorf("error %v", err)
	}
}
