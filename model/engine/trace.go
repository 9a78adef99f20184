package engine

import (
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/tokenizer"
)

// trace gathers the router's chunks with the text that they cover. A token's text
// belongs to the chunk in which its last byte arrived, so that no character is
// split.
type trace struct {
	stream  *tokenizer.Stream
	domains []string
	router  *router.Router // nil for a plain model
	chunks  []Chunk
	tail    strings.Builder // text of the last chunk, which may grow long without a copy
	shown   int             // chunks before this one were returned by changed and are closed
	plain   bool            // one chunk without encoders: changed waits for its end
	ended   bool
}

func newTrace(cfg Config) *trace {
	return &trace{stream: tokenizer.NewStream(cfg.Tokenizer, true), domains: cfg.Model.Config().Router.Domains, router: cfg.Model.Router(),
		plain: cfg.Model.Config().Plain()}
}

// prompt adds the chunks of the prompt and returns them. A plain model gives one
// chunk without encoders.
func (t *trace) prompt(ids []int32, chunks []router.Chunk) ([]Chunk, error) {
	if chunks == nil {
		chunks = []router.Chunk{{End: len(ids)}}
	}
	for _, c := range chunks {
		t.add(c, true)
		for _, id := range ids[c.Start:c.End] {
			if err := t.text(id); err != nil {
				return nil, err
			}
		}
	}
	t.shown = len(t.chunks) - 1
	return append([]Chunk(nil), t.chunks...), nil
}

// token adds one generated token, which the model has read.
func (t *trace) token(id int32, chunks []router.Chunk) error {
	last := &t.chunks[len(t.chunks)-1]
	switch {
	case chunks == nil, chunks[0].Continues:
		last.End++
	default:
		t.add(chunks[0], false)
	}
	return t.text(id)
}

// end adds what is left of a character that was not finished, and before it the last
// token of an answer if no encoder has read that: it is shown with the chunk that
// predicted it.
func (t *trace) end(unread ...int32) error {
	last := &t.chunks[len(t.chunks)-1]
	for _, id := range unread {
		last.End++
		if err := t.text(id); err != nil {
			return err
		}
	}
	t.ended = true
	rest, err := t.stream.Flush()
	t.write(rest)
	return err
}

// changed returns the chunks that are new or grew since the last call; that of a
// plain model, which is as long as the text, only at its end.
func (t *trace) changed() []Chunk {
	if t.plain && !t.ended {
		return nil
	}
	changed := append([]Chunk(nil), t.chunks[t.shown:]...)
	t.shown = len(t.chunks) - 1
	return changed
}

func (t *trace) text(id int32) error {
	text, err := t.stream.Push(id)
	t.write(text)
	return err
}

func (t *trace) write(text string) {
	t.tail.WriteString(text)
	t.chunks[len(t.chunks)-1].Text = t.tail.String()
}

func (t *trace) add(c router.Chunk, prompt bool) {
	shown := Chunk{Start: c.Start, End: c.End, Prompt: prompt, Reason: string(c.Reason), Encoders: []EncoderUse{}}
	for slot, e := range c.Slots {
		use := EncoderUse{Slot: slot, Encoder: e, Weight: c.Gates[slot], Changed: c.Changed[slot], Always: t.router.Always(e)}
		if e < len(t.domains) {
			use.Domain = t.domains[e]
		}
		shown.Encoders = append(shown.Encoders, use)
	}
	t.chunks = append(t.chunks, shown)
	t.tail = strings.Builder{}
}
