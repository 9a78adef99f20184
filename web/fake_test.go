package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/web"
)

// fakeEngine stands in for a model in tests of the HTTP behaviour. Its answers
// are scripted by the test and say nothing about a model.
type fakeEngine struct {
	generate func(ctx context.Context, r engine.Request, emit func(engine.Event) error) (engine.Result, error)
	info     engine.Info
}

func (f *fakeEngine) Generate(ctx context.Context, r engine.Request, emit func(engine.Event) error) (engine.Result, error) {
	return f.generate(ctx, r, emit)
}

func (f *fakeEngine) Info() engine.Info { return f.info }

// swarmInfo is the card of a swarm of four copies.
var swarmInfo = engine.Info{
	Name: "mini-swarm", ModelType: "mamba_swarm", BaseModelType: "mamba2",
	Parameters: 21_345_678, ActiveParameters: 16_789_012,
	NumEncoders: 4, EncodersPerToken: 2, NumEncoderLayers: 2, NumLayers: 12,
	HiddenSize: 384, VocabSize: 8192, ChunkLength: 4, Granularity: "chunk",
	Domains: []string{"fiction", "code-go", "legal", "biology"},
	DType:   "float32", Backend: "go", GrownFrom: "mamba2-mini",
}

// use is one encoder of a scripted chunk.
func use(slot, encoder int, weight float64) engine.EncoderUse {
	return engine.EncoderUse{Slot: slot, Encoder: encoder, Domain: swarmInfo.Domains[encoder], Weight: weight}
}

// say answers with two prompt chunks, the second of which goes on in the answer,
// and one chunk per further four words. Like a model it decides about a word when
// it reads it, one step after it wrote it; the last word is never read.
func say(words []string) func(context.Context, engine.Request, func(engine.Event) error) (engine.Result, error) {
	return func(ctx context.Context, r engine.Request, emit func(engine.Event) error) (engine.Result, error) {
		half := len(r.Prompt) / 2
		chunks := []engine.Chunk{
			{Start: 0, End: 4, Text: r.Prompt[:half], Prompt: true, Reason: "default", Encoders: []engine.EncoderUse{use(0, 0, 0.5), use(1, 1, 0.5)}},
			{Start: 4, End: 6, Text: r.Prompt[half:], Prompt: true, Reason: "swapped", Encoders: []engine.EncoderUse{use(0, 0, 0.7), use(1, 2, 0.3)}},
		}
		if err := emit(engine.Event{Token: -1, Chunks: chunks}); err != nil {
			return engine.Result{}, err
		}
		res := engine.Result{PromptTokens: 6, FinishReason: engine.FinishLength, Seed: r.Seed, FirstTokenMS: 12.5, TokensPerSecond: 80, EncoderSwaps: 1}
		for i, w := range words {
			if ctx.Err() != nil {
				res.FinishReason = engine.FinishCancelled
				return res, nil
			}
			e := engine.Event{Text: w, Token: 100 + i, Logprob: -1.5}
			if at := 5 + i; i > 0 { // the position of the word before
				if at%4 == 0 {
					chunks = append(chunks, engine.Chunk{Start: at, Reason: "swapped", Encoders: []engine.EncoderUse{use(0, (at/4+1)%4, 0.6), use(1, at/4%4, 0.4)}})
				}
				last := &chunks[len(chunks)-1]
				last.Text, last.End = last.Text+words[i-1], at+1
				e.Chunks = []engine.Chunk{*last}
			}
			res.Text += w
			res.CompletionTokens++
			if err := emit(e); err != nil {
				return res, err
			}
		}
		res.Chunks = chunks
		return res, nil
	}
}

// serve starts a server over e on a free loopback port.
func serve(t *testing.T, c web.Config) *httptest.Server {
	t.Helper()
	s, err := web.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(s.Handler())
	t.Cleanup(ts.Close)
	return ts
}

// event is one server-sent event.
type event struct {
	Name string
	Data json.RawMessage
}

// readEvent reads the next event by the rules of the HTML standard, §9.2.6, as
// far as a stream with event and data fields needs them.
func readEvent(r *bufio.Reader) (event, error) {
	var e event
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return e, nil
		}
		field, value, ok := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case !ok:
			return e, fmt.Errorf("line %q has no colon", line)
		case field == "event":
			e.Name = value
		case field == "data" && e.Data == nil:
			e.Data = json.RawMessage(value)
		default:
			return e, fmt.Errorf("unexpected line %q", line)
		}
	}
}

// readEvents reads a whole stream.
func readEvents(t *testing.T, r io.Reader) []event {
	t.Helper()
	var all []event
	for in := bufio.NewReader(r); ; {
		e, err := readEvent(in)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}
