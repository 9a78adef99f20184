package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/mamba-encoder-swarm/mes/model/engine"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

var generateCommand = command{
	name: "generate", args: "[PROMPT]", summary: "continue a text",
	help: `
Continues PROMPT, or standard input if there is none or it is "-", and writes the
answer as it is generated. Any HuggingFace Mamba folder works, and any swarm.
Defaults of the sampling flags come from the model's generation_config.json.

Example:
  mes generate -model weights/mes-mini -max-tokens 40 "The history of"`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		g := &generate{m: m, model: m.modelFlags(fs), fs: fs}
		fs.IntVar(&g.request.MaxTokens, "max-tokens", 128, "`tokens` to generate at most")
		fs.Float64Var(&g.request.Temperature, "temperature", 0, "`temperature` of sampling; 0 is greedy")
		fs.IntVar(&g.request.TopK, "top-k", 0, "draw from the `k` likeliest tokens; 0 is all")
		fs.Float64Var(&g.request.TopP, "top-p", 0, "draw from the likeliest tokens with this total `probability`; 0 is all")
		fs.Float64Var(&g.request.MinP, "min-p", 0, "draw from tokens at least this `fraction` as likely as the best; 0 is all")
		fs.Float64Var(&g.request.RepetitionPenalty, "repetition-penalty", 0, "`factor` that makes tokens already in the text less likely; 0 or 1 is off")
		fs.Float64Var(&g.request.PresencePenalty, "presence-penalty", 0, "`amount` taken from the logits of tokens already generated")
		fs.Uint64Var(&g.request.Seed, "seed", 0, "`seed` of sampling; 0 draws one and reports it with -json")
		fs.Func("stop", "end the answer before this `text`; may be given several times", func(s string) error {
			g.request.Stop = append(g.request.Stop, s)
			return nil
		})
		fs.IntVar(&g.request.Logprobs, "logprobs", 0, "report the `n` likeliest tokens at each position, with -json")
		fs.StringVar(&g.request.Domain, "domain", "", "`name` of the encoder domain to begin with")
		fs.BoolVar(&g.chat, "chat", false, "put the prompt into the model's chat template as the user's message")
		g.maxPrompt = maxPromptFlag(fs)
		fs.BoolVar(&g.json, "json", false, "write one JSON object with text, tokens, routing and timings")
		return g.run
	},
}

// generate is one run of the command.
type generate struct {
	m         *Main
	fs        *flag.FlagSet
	model     *modelFlags
	request   engine.Request
	chat      bool
	json      bool
	maxPrompt *int
}

func (g *generate) run(ctx context.Context, args []string) error {
	prompt, err := g.m.prompt(args, *g.maxPrompt)
	if err != nil {
		return err
	}
	l, err := g.model.load(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	l.model.Warm(len(prompt)/4 + 1)
	g.request.NoSpecialTokens = g.chat
	if g.request.Prompt, err = g.prompt(l.tok, prompt); err != nil {
		return err
	}
	g.defaults(sampling(l.files.Generation))
	e, err := l.engine(engine.Config{MaxPromptBytes: *g.maxPrompt})
	if err != nil {
		return err
	}
	type token struct {
		Token   int                   `json:"token"`
		Text    string                `json:"text"`
		Logprob float64               `json:"logprob"`
		Top     []engine.TokenLogprob `json:"top,omitempty"`
	}
	var tokens []token
	result, err := e.Generate(ctx, g.request, func(ev engine.Event) error {
		if ev.Token >= 0 {
			tokens = append(tokens, token{ev.Token, ev.Text, ev.Logprob, ev.Top})
		}
		if g.json {
			return nil
		}
		_, err := io.WriteString(g.m.Stdout, ev.Text)
		return err
	})
	if err != nil {
		return err
	}
	if g.json {
		err = json.NewEncoder(g.m.Stdout).Encode(struct {
			engine.Result
			Tokens []token `json:"tokens"`
		}{result, tokens})
	} else {
		_, err = fmt.Fprintln(g.m.Stdout)
	}
	if err == nil && result.FinishReason == engine.FinishCancelled {
		return ctx.Err()
	}
	return err
}

// prompt applies the chat template if asked for.
func (g *generate) prompt(t tokenizer.Tokenizer, text string) (string, error) {
	if !g.chat {
		return text, nil
	}
	return t.Config().ApplyChatTemplate([]tokenizer.Message{{Role: "user", Content: text}}, true)
}

// defaults fills in the sampling values that no flag sets, and the seed.
func (g *generate) defaults(d engine.Sampling) {
	set := map[string]bool{}
	g.fs.Visit(func(f *flag.Flag) { set[f.Name] = true })
	r := &g.request
	for name, value := range map[string]struct{ to, from *float64 }{
		"temperature":        {&r.Temperature, &d.Temperature},
		"top-p":              {&r.TopP, &d.TopP},
		"min-p":              {&r.MinP, &d.MinP},
		"repetition-penalty": {&r.RepetitionPenalty, &d.RepetitionPenalty},
	} {
		if !set[name] {
			*value.to = *value.from
		}
	}
	if !set["top-k"] {
		r.TopK = d.TopK
	}
	if r.Seed == 0 {
		r.Seed = rand.Uint64()
	}
}
