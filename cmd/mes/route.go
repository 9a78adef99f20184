package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

var routeCommand = command{
	name: "route", args: "[TEXT]", summary: "show which encoders of a swarm would read a text, and why",
	help: `
Plans TEXT, or standard input if there is none or it is "-", and shows for each chunk
its tokens, the encoders with their weights, why they run, and its text. A decision
sees the tokens before its chunk. Values are the scores of the gate (0 to 1) plus the
encoder's bias: those of the chosen encoders, then of the best others. Only the
router runs, not the network.

Example:
  mes route -model swarm -json "The history of"`,
	flags: func(fs *flag.FlagSet, m *Main) func(context.Context, []string) error {
		r := &route{m: m, maxPrompt: maxPromptFlag(fs)}
		fs.StringVar(&r.dir, "model", defaultModel, modelUsage)
		fs.StringVar(&r.domain, "domain", "", "`name` of the encoder domain to begin with")
		fs.BoolVar(&r.json, "json", false, "write JSON")
		return r.run
	},
}

// route is one run of the command.
type route struct {
	m           *Main
	dir, domain string
	maxPrompt   *int
	json        bool
}

// routed is what the command writes as JSON.
type routed struct {
	Model  string        `json:"model"`
	Chunks []routedChunk `json:"chunks"`
}

// routedChunk is a run of tokens that share one decision.
type routedChunk struct {
	Start    int            `json:"start"`
	End      int            `json:"end"` // one past the last token
	Text     string         `json:"text"`
	Reason   router.Reason  `json:"reason"`
	Encoders []routedUse    `json:"encoders"` // one per slot
	Scores   []encoderScore `json:"scores"`   // best first; none before the first decision
}

// routedUse is an encoder that runs.
type routedUse struct {
	Encoder int     `json:"encoder"`
	Domain  string  `json:"domain"`
	Weight  float64 `json:"weight"`
	Changed bool    `json:"changed"`
}

// encoderScore is what the gate gave an encoder.
type encoderScore struct {
	Encoder int     `json:"encoder"`
	Domain  string  `json:"domain"`
	Score   float64 `json:"score"`
	Bias    float64 `json:"bias"`
	Chosen  bool    `json:"chosen"`
	Always  bool    `json:"always,omitempty"` // whatever its score is
}

func (r *route) run(ctx context.Context, args []string) error {
	text, err := r.m.prompt(args, *r.maxPrompt)
	if err != nil {
		return err
	}
	files, err := r.m.openModel(ctx, r.dir)
	if err != nil {
		return err
	}
	defer files.Close()
	cfg := files.Config.Swarm
	if cfg.Plain() {
		return usageError("%s is a plain %s: it has no router and every token meets all of it; `mes grow` makes a swarm of it", r.dir, cfg.Base.Kind)
	}
	chunks, offsets, err := plan(files, r.domain, text)
	if err != nil {
		return err
	}
	out := routed{Model: r.dir, Chunks: explain(chunks, cfg.Router.Domains, text, offsets)}
	if r.json {
		enc := json.NewEncoder(r.m.Stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(out)
	}
	return r.m.printRoute(out)
}

// plan runs the router of a swarm over a text. offsets are those of its tokens.
func plan(files *hub.Pretrained, domain, text string) (chunks []router.Chunk, offsets [][2]int, err error) {
	rt, err := swarm.ReadRouter(files.Config.Swarm, files)
	if err != nil {
		return nil, nil, fmt.Errorf("read the router of %s: %w", files.Name, err)
	}
	state, err := rt.Start(domain)
	if err != nil {
		return nil, nil, usageError("-domain: %v", err)
	}
	tok, err := files.Tokenizer()
	if err != nil {
		return nil, nil, err
	}
	defer tok.Close()
	ids, offsets, err := tok.EncodeOffsets(text)
	if err != nil {
		return nil, nil, err
	}
	chunks, _, err = rt.Plan(state, ids)
	return chunks, offsets, err
}

// explain joins chunks with names and with the text that their tokens cover. A
// character whose tokens lie in two chunks belongs to the first of them.
func explain(chunks []router.Chunk, domains []string, text string, offsets [][2]int) []routedChunk {
	domain := func(e int) string { return router.DomainOf(e, domains) }
	out := make([]routedChunk, len(chunks))
	from := 0
	for i, c := range chunks {
		to := from
		for _, span := range offsets[c.Start:c.End] {
			to = max(to, span[1])
		}
		if i == len(chunks)-1 {
			to = len(text)
		}
		out[i] = routedChunk{Start: c.Start, End: c.End, Text: text[from:to], Reason: c.Reason, Scores: []encoderScore{}}
		from = to
		for slot, e := range c.Slots {
			out[i].Encoders = append(out[i].Encoders, routedUse{e, domain(e), c.Gates[slot], c.Changed[slot]})
		}
		for _, s := range c.Scores {
			out[i].Scores = append(out[i].Scores, encoderScore{s.Encoder, domain(s.Encoder), s.Score, s.Bias, slices.Contains(c.Slots, s.Encoder), s.Always()})
		}
	}
	return out
}

// printRoute writes a table for people.
func (m *Main) printRoute(r routed) error {
	w := &printer{w: tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)}
	w.f("TOKENS\tENCODERS\tWHY\tTEXT\n")
	for _, c := range r.Chunks {
		w.f("%s\t%s\t%s\t%q\n", c.tokens(), c.uses(), c.why(), c.Text)
	}
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}

// tokens says which tokens the chunk has.
func (c routedChunk) tokens() string { return fmt.Sprintf("%d-%d", c.Start, c.End-1) }

// uses says which encoders run, with their weights.
func (c routedChunk) uses() string {
	var uses []string
	for _, u := range c.Encoders {
		uses = append(uses, fmt.Sprintf("%s %.1f %%", encoderName(u.Encoder, u.Domain), 100*u.Weight))
	}
	return strings.Join(uses, ", ")
}

// why says what the decision was made on.
func (c routedChunk) why() string {
	switch c.Reason {
	case router.ReasonDefault:
		return "nothing read yet: default encoders"
	case router.ReasonDomain:
		return "nothing read yet: the domain asked for"
	}
	var chosen, others []string
	for _, s := range c.Scores {
		value := fmt.Sprintf("%s %.3f", encoderName(s.Encoder, s.Domain), s.Score+s.Bias)
		if s.Always {
			value = encoderName(s.Encoder, s.Domain) + " always"
		}
		if s.Chosen {
			chosen = append(chosen, value)
		} else {
			others = append(others, value)
		}
	}
	why := string(c.Reason) + ": " + strings.Join(chosen, ", ")
	if others != nil {
		why += " before " + strings.Join(others, ", ")
	}
	return why
}

// encoderName is an encoder's number and, if it has one, its domain.
func encoderName(e int, domain string) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", e, domain))
}
