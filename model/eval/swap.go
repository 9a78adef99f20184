package eval

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// activeSweep judges the probe with 1, 2, … encoders active.
func (e *evaluator) activeSweep(ctx context.Context, r *Report) error {
	for k := 1; k <= e.MaxActive; k++ {
		cfg := withActive(e.Model.Config(), k)
		sums, err := e.withModel(cfg, func(m *swarm.Model) ([]tally, error) {
			return e.tallies(ctx, fmt.Sprintf("%d of %d active encoders", k, e.MaxActive), m, e.probe, nil)
		})
		if err != nil {
			return err
		}
		t := textFigures(e.probe, sums)
		r.Active = append(r.Active, Active{Encoders: k, FLOPs: cfg.FLOPs(), Mean: t.Mean, Domains: t.Domains})
	}
	return nil
}

// withModel runs f with the model under a configuration.
func (e *evaluator) withModel(cfg swarm.Config, f func(*swarm.Model) ([]tally, error)) ([]tally, error) {
	if cfg.Router.EncodersPerToken == e.Model.Config().Router.EncodersPerToken {
		return f(e.Model)
	}
	m, err := e.Load(cfg)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return f(m)
}

// withActive is a configuration with k active encoders. Those that begin a text are the
// first of the default encoders, then the lowest others.
func withActive(c swarm.Config, k int) swarm.Config {
	first := slices.Clone(c.Router.DefaultEncoders)
	for e := 0; len(first) < k; e++ {
		if !slices.Contains(first, e) {
			first = append(first, e)
		}
	}
	c.Router.EncodersPerToken, c.Router.DefaultEncoders = k, first[:k]
	return c
}

// swapJob is a domain read by one encoder in place of its own.
type swapJob struct {
	domain  int // of the probe
	encoder int // routed: as the router decides
	sum     tally
}

// routed stands for no encoder that is prescribed.
const routed = -1

// swapTest lets other specialists read each domain in place of its own. All of them
// read under the same plan, which is the router's with the domain's encoder in it from
// the first token on, and differs in nothing but whose weights run.
func (e *evaluator) swapTest(ctx context.Context, r *Report) error {
	var jobs []*swapJob
	var texts []swarm.Text
	var of []*swapJob // by text
	var bytes []int64
	for i, d := range e.probe {
		if len(d.encoders) == 0 || len(d.docs) == 0 {
			continue
		}
		own := d.encoders[0]
		var plans [][]router.Chunk
		for _, doc := range d.docs {
			plan, err := e.plan(doc.IDs)
			if err != nil {
				return err
			}
			plans = append(plans, plan)
		}
		for _, encoder := range append([]int{routed, own}, e.rivals(d, plans)...) {
			job := &swapJob{domain: i, encoder: encoder}
			jobs = append(jobs, job)
			for p, plan := range plans {
				if encoder != routed {
					plan = exchanged(prescribed(plan, own), own, encoder)
				}
				texts, of, bytes = append(texts, swarm.Text{IDs: d.docs[p].IDs, Plan: plan}), append(of, job), append(bytes, d.docs[p].Bytes)
			}
		}
	}
	if jobs == nil { // no encoder has the name of a domain of the data
		return nil
	}
	judged, err := e.judge(ctx, "swapped encoders", e.Model, texts)
	if err != nil {
		return err
	}
	for i, j := range judged {
		of[i].sum.add(bytes[i], j)
	}
	r.Swaps = e.swapRows(jobs)
	return nil
}

// swapRows makes a row of each domain's jobs, which follow one another.
func (e *evaluator) swapRows(jobs []*swapJob) []Swap {
	names := e.Model.Config().Router.Domains
	var rows []Swap
	for _, job := range jobs {
		bits := job.sum.figures().BitsPerByte
		d := e.probe[job.domain]
		if job.encoder == routed {
			rows = append(rows, Swap{Domain: d.name, Encoder: d.encoders[0], Routed: bits})
			continue
		}
		row := &rows[len(rows)-1]
		if job.encoder == row.Encoder {
			row.Own = bits
			continue
		}
		row.Others = append(row.Others, SwapOther{job.encoder, router.DomainOf(job.encoder, names), bits})
	}
	for i := range rows {
		row := &rows[i]
		slices.SortStableFunc(row.Others, func(a, b SwapOther) int { return cmp.Compare(a.BitsPerByte, b.BitsPerByte) })
		for _, other := range row.Others {
			row.Mean += other.BitsPerByte / float64(len(row.Others))
		}
		if len(row.Others) > 0 {
			row.Best = row.Others[0].BitsPerByte
			row.Knows = row.Own < row.Best
		}
	}
	return rows
}

// rivals are the specialists of other domains that are tried, those that the router
// uses most on the domain first.
func (e *evaluator) rivals(d domainTexts, plans [][]router.Chunk) []int {
	use := make([]int, e.Model.Config().Router.NumEncoders)
	for _, plan := range plans {
		for _, c := range plan {
			for _, encoder := range c.Slots {
				use[encoder] += c.End - c.Start
			}
		}
	}
	var others []int
	for _, other := range e.probe {
		if other.name != d.name && len(other.encoders) > 0 {
			others = append(others, other.encoders[0])
		}
	}
	slices.SortStableFunc(others, func(a, b int) int { return cmp.Compare(use[b], use[a]) })
	return others[:min(len(others), e.Swaps)]
}

// prescribed is a plan in which an encoder always runs: where it does not it takes the
// slot with the smallest gate, of equal ones the last.
func prescribed(plan []router.Chunk, encoder int) []router.Chunk {
	out := slices.Clone(plan)
	for i, c := range out {
		if slices.Contains(c.Slots, encoder) {
			continue
		}
		least := 0
		for s, gate := range c.Gates {
			if gate <= c.Gates[least] {
				least = s
			}
		}
		out[i].Slots = slices.Clone(c.Slots)
		out[i].Slots[least] = encoder
	}
	return out
}

// exchanged is a plan in which two encoders have each other's places.
func exchanged(plan []router.Chunk, a, b int) []router.Chunk {
	out := slices.Clone(plan)
	for i, c := range out {
		out[i].Slots = slices.Clone(c.Slots)
		for s, e := range c.Slots {
			switch e {
			case a:
				out[i].Slots[s] = b
			case b:
				out[i].Slots[s] = a
			}
		}
	}
	return out
}
