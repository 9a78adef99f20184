package eval

import (
	"context"
	"fmt"

	"github.com/mamba-encoder-swarm/mes/model/engine"
)

// promptTokens is how much of a held-out document a sample goes on from.
const promptTokens = 32

// Sample is a text that the model wrote.
type Sample struct {
	Domain string `json:"domain"` // of the document that it goes on from
	Prompt string `json:"prompt"`
	Text   string `json:"text"`
	Seed   uint64 `json:"seed"`
	Tokens int    `json:"tokens"`
	// TokensPerSecond of decoding, the first token excluded.
	TokensPerSecond float64 `json:"tokens_per_second"`
}

// samples lets the model go on from the first document of some domains, which are
// spread over all.
func (e *evaluator) samples(ctx context.Context, r *Report) error {
	n := min(e.Samples, len(e.texts))
	for i := range n {
		d := e.texts[i*len(e.texts)/n]
		if len(d.docs) == 0 {
			continue
		}
		ids := d.docs[0].IDs
		prompt, err := e.Tokenizer.Decode(ids[:min(len(ids), promptTokens)], true)
		if err != nil {
			return fmt.Errorf("sample of %s: %w", d.name, err)
		}
		e.tell("samples", int64(i), int64(n))
		request := engine.Request{Prompt: prompt, MaxTokens: e.SampleTokens, Sampling: e.Sampling}
		request.Seed = e.Seed
		result, err := e.Engine.Generate(ctx, request, func(engine.Event) error { return nil })
		if err != nil {
			return fmt.Errorf("sample of %s: %w", d.name, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		r.Samples = append(r.Samples, Sample{d.name, prompt, result.Text, result.Seed, result.CompletionTokens, result.TokensPerSecond})
	}
	return nil
}
