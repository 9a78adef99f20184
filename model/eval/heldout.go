package eval

import (
	"context"
	"math"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// figures are a domain's, from what was added up.
func (t tally) figures() Figures {
	f := Figures{Documents: t.documents, Tokens: t.tokens, Bytes: t.bytes}
	if t.tokens > 0 {
		f.NatsPerToken = t.nats / float64(t.tokens)
		f.Perplexity = math.Exp(f.NatsPerToken)
		f.Accuracy = float64(t.best) / float64(t.tokens)
	}
	if t.bytes > 0 {
		f.BitsPerByte = t.nats / math.Ln2 / float64(t.bytes)
	}
	return f
}

// textFigures makes the figures by domain and their mean.
func textFigures(domains []domainTexts, sums []tally) *Text {
	t := &Text{}
	var n float64
	for i, sum := range sums {
		if sum.tokens == 0 {
			continue
		}
		f := sum.figures()
		t.Domains = append(t.Domains, DomainFigures{domains[i].name, f})
		m := &t.Mean
		m.Documents, m.Tokens, m.Bytes = m.Documents+f.Documents, m.Tokens+f.Tokens, m.Bytes+f.Bytes
		m.BitsPerByte, m.NatsPerToken, m.Accuracy = m.BitsPerByte+f.BitsPerByte, m.NatsPerToken+f.NatsPerToken, m.Accuracy+f.Accuracy
		n++
	}
	t.Mean.BitsPerByte, t.Mean.NatsPerToken, t.Mean.Accuracy = t.Mean.BitsPerByte/n, t.Mean.NatsPerToken/n, t.Mean.Accuracy/n
	t.Mean.Perplexity = math.Exp(t.Mean.NatsPerToken)
	return t
}

// heldOut judges all documents, and the router by its plans of them.
func (e *evaluator) heldOut(ctx context.Context, r *Report) error {
	var plans [][]router.Chunk
	if !e.plain {
		counts := newRouting(e.Model.Config().Router.NumEncoders, e.texts)
		texts, domain := flat(e.texts)
		for i, text := range texts {
			if err := ctx.Err(); err != nil {
				return err
			}
			plan, err := e.plan(text.IDs)
			if err != nil {
				return err
			}
			plans = append(plans, plan)
			counts.add(domain[i], plan)
		}
		r.Routing = counts.report(e.Model.Config().Router.Domains)
	}
	sums, err := e.tallies(ctx, "held-out text", e.Model, e.texts, plans)
	if err != nil {
		return err
	}
	r.Text = textFigures(e.texts, sums)
	return nil
}

// packedRows judges rows as the trainer's validation does: every row from the state
// before its first token, whatever document it begins in.
func (e *evaluator) packedRows(ctx context.Context, r *Report) error {
	m, err := data.ReadManifest(e.Data)
	if err != nil {
		return err
	}
	rows, err := data.Rows(e.Data, e.Split, e.RowLength)
	if err != nil {
		return err
	}
	var texts []swarm.Text
	var domain []int
	for row, err := range rows {
		if err != nil {
			return err
		}
		texts, domain = append(texts, swarm.Text{IDs: slices.Clone(row.IDs)}), append(domain, row.Domain)
	}
	if len(texts) == 0 {
		return wrong("no domain of split %s has %d tokens, the length of a row", e.Split, e.RowLength+1)
	}
	judged, err := e.judge(ctx, "packed rows", e.Model, texts)
	if err != nil {
		return err
	}
	sum, n := make([]float64, len(m.Domains)), make([]int, len(m.Domains))
	out := &Rows{Length: e.RowLength, Rows: len(texts)}
	for i, j := range judged {
		loss := j.Sum(0, len(texts[i].IDs)) / float64(e.RowLength)
		sum[domain[i]], n[domain[i]] = sum[domain[i]]+loss, n[domain[i]]+1
		out.NatsPerToken += loss / float64(len(texts))
	}
	for d := range sum {
		if n[d] > 0 {
			out.Domains = append(out.Domains, DomainLoss{m.Domains[d].Name, n[d], sum[d] / float64(n[d])})
		}
	}
	r.Rows = out
	return nil
}
