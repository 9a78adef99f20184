package swarm

import (
	"context"
	"fmt"

	"github.com/mamba-encoder-swarm/mes/model/router"
)

// Text is a text to be judged.
type Text struct {
	IDs []int32
	// Plan says which encoders run on which tokens; nil lets the router decide. Chunks
	// follow one another from token 0 and cover all ids but the last, which is not read.
	Plan []router.Chunk
}

// Judged is how well a model foresaw a text.
type Judged struct {
	Loss []float32 // -log p of the ids from the second on, in nats
	Best []bool    // no other id was likelier
}

// Sum adds up the losses of the ids [from, to), counted in the text; id 0 has none.
func (j Judged) Sum(from, to int) float64 {
	var sum float64
	for _, loss := range j.Loss[max(from, 1)-1 : to-1] {
		sum += float64(loss)
	}
	return sum
}

// Judge reads texts, each from the state before its first token, and calls done with
// what it found of each, in any order, from the caller's goroutine. On a GPU texts
// are read side by side, so many in one call cost less. Whatever the length of a text, the
// device holds one state for it.
//
// An error of done ends the work and is returned. A context that ends stops it before
// the next program.
func (m *Model) Judge(ctx context.Context, texts []Text, done func(text int, j Judged) error) error {
	for i, text := range texts {
		if err := m.checkText(text); err != nil {
			return fmt.Errorf("text %d: %w", i, err)
		}
	}
	if m.batch.lanes > 0 && (m.cfg.Plain() || m.groups()) {
		return m.judgeBatch(ctx, texts, done)
	}
	for i, text := range texts {
		j, err := m.judgeOne(ctx, text)
		if err != nil {
			return err
		}
		if err := done(i, j); err != nil {
			return err
		}
	}
	return nil
}

// checkText reports ids that the model does not have, and a plan that does not fit.
func (m *Model) checkText(text Text) error {
	for i, id := range text.IDs {
		if id < 0 || int(id) >= m.cfg.Base.VocabSize {
			return fmt.Errorf("token %d at position %d: the model's vocabulary has ids 0 to %d", id, i, m.cfg.Base.VocabSize-1)
		}
	}
	if text.Plan == nil {
		return nil
	}
	if m.router == nil {
		return fmt.Errorf("a plain %s has no encoders to plan", m.cfg.Base.Kind)
	}
	at, k, E := 0, m.cfg.Router.EncodersPerToken, m.cfg.Router.NumEncoders
	for _, c := range text.Plan {
		if c.Start != at || c.End <= at || len(c.Slots) != k || len(c.Gates) != k {
			return fmt.Errorf("the plan's chunk at token %d does not follow what ends at %d, or has not %d slots", c.Start, at, k)
		}
		for _, e := range c.Slots {
			if e < 0 || e >= E {
				return fmt.Errorf("the plan's chunk at token %d: encoder %d, the model has %d", c.Start, e, E)
			}
		}
		at = c.End
	}
	if at < len(text.IDs)-1 {
		return fmt.Errorf("the plan ends at token %d of %d", at, len(text.IDs))
	}
	return nil
}

// planned returns the plan over the tokens of a text that are read; nil for a plain
// model.
func (m *Model) planned(text Text) ([]router.Chunk, error) {
	n := len(text.IDs) - 1
	if m.router == nil || n < 1 {
		return nil, nil
	}
	if text.Plan == nil {
		start, err := m.router.Start("")
		if err != nil {
			return nil, err
		}
		chunks, _, err := m.router.Plan(start, text.IDs[:n])
		return chunks, err
	}
	var plan []router.Chunk
	for _, c := range text.Plan {
		if c.Start < n {
			c.End = min(c.End, n)
			plan = append(plan, c)
		}
	}
	return plan, nil
}

// judgeOne reads a text by itself.
func (m *Model) judgeOne(ctx context.Context, text Text) (Judged, error) {
	var j Judged
	n := len(text.IDs) - 1
	if n < 1 {
		return j, ctx.Err()
	}
	s, err := m.NewSession("")
	if err != nil {
		return j, err
	}
	defer s.Close()
	s.next = text.IDs[1:]
	if s.given, err = m.planned(text); err != nil {
		return j, err
	}
	_, _, err = s.feed(ctx, text.IDs[:n], likelihoods, func(_ int, values []float32) error {
		j.add(values)
		return nil
	})
	return j, err
}

// add takes the next rows of what [judge] gives.
func (j *Judged) add(values []float32) {
	for ; len(values) > 0; values = values[2:] {
		j.Loss, j.Best = append(j.Loss, values[0]), append(j.Best, values[1] > 0)
	}
}
