package main

import (
	"context"
	"slices"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/num"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// comparison runs a swarm before and after.
type comparison struct {
	models  [2]*swarm.Model
	routers [2]*router.Router
}

func compareSwarms(b compute.Backend, before, after *hub.Pretrained) (*comparison, error) {
	c := &comparison{}
	for i, p := range []*hub.Pretrained{before, after} {
		var err error
		if c.routers[i], err = swarm.ReadRouter(p.Config.Swarm, p); err != nil {
			return nil, err
		}
		if c.models[i], err = swarm.Load(b, p.Config.Swarm, p, swarm.Options{}); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c *comparison) close() {
	for _, m := range c.models {
		if m != nil {
			m.Close()
		}
	}
}

// plans are those of both routers for a text.
func (c *comparison) plans(ids []int32) (plans [2][]router.Chunk, err error) {
	for i, r := range c.routers {
		s, err := r.Start("")
		if err != nil {
			return plans, err
		}
		if plans[i], _, err = r.Plan(s, ids); err != nil {
			return plans, err
		}
	}
	return plans, nil
}

// own measures texts of the new domain.
func (c *comparison) own(ctx context.Context, texts [][]int32, encoder int, r *added) error {
	decisions := 0
	for _, ids := range texts {
		plans, err := c.plans(ids)
		if err != nil {
			return err
		}
		for _, chunk := range plans[1][1:] {
			decisions++
			if slices.Contains(chunk.Slots, encoder) {
				r.Chosen++
			}
		}
		before, err := loss(ctx, c.models[0], ids)
		if err != nil {
			return err
		}
		after, err := loss(ctx, c.models[1], ids)
		if err != nil {
			return err
		}
		r.Before, r.After = r.Before+before/float64(len(texts)), r.After+after/float64(len(texts))
	}
	r.Chosen /= float64(max(1, decisions))
	return nil
}

// others measures texts of other domains; one whose plan is the same loses nothing.
func (c *comparison) others(ctx context.Context, texts [][]int32, r *added) error {
	r.Others = len(texts)
	changed, tokens := 0, 0
	for _, ids := range texts {
		plans, err := c.plans(ids)
		if err != nil {
			return err
		}
		now := 0
		for i, chunk := range plans[0] {
			if !slices.Equal(chunk.Slots, plans[1][i].Slots) {
				now += chunk.End - chunk.Start
			}
		}
		changed, tokens = changed+now, tokens+len(ids)
		if now == 0 {
			continue
		}
		before, err := loss(ctx, c.models[0], ids)
		if err != nil {
			return err
		}
		after, err := loss(ctx, c.models[1], ids)
		if err != nil {
			return err
		}
		r.Lost += (after - before) / float64(len(texts))
	}
	r.Changed = float64(changed) / float64(max(1, tokens))
	return nil
}

// loss is the cross-entropy of a text, in nats a token.
func loss(ctx context.Context, m *swarm.Model, ids []int32) (float64, error) {
	s, err := m.NewSession("")
	if err != nil {
		return 0, err
	}
	defer s.Close()
	var sum float64
	inputs := ids[:len(ids)-1]
	_, err = s.Score(ctx, inputs, func(at int, logits []float32) error {
		width := m.Config().Base.VocabSize
		for i := range len(logits) / width {
			row := logits[i*width:][:width]
			sum += num.LogSumExp(row) - float64(row[ids[at+i+1]])
		}
		return nil
	})
	return sum / float64(len(inputs)), err
}
