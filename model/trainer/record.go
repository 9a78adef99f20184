package trainer

import (
	"slices"
	"time"

	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// tally adds up what the steps since the last record gave. Skipped steps, whose numbers
// need not be finite, are left out.
type tally struct {
	Steps   int64                 `json:"steps"`
	Stats   [numStats]float64     `json:"stats"`
	Domains map[string][2]float64 `json:"domains,omitempty"` // sum of the texts' cross-entropy, and texts
	Load    []float64             `json:"load,omitempty"`    // [E], choices of the router
}

// add adds a step.
func (t *tally) add(batches []rowsOfBatch, r result) {
	if !r.finite() || slices.ContainsFunc(r.stats[:], func(v float64) bool { return v-v != 0 }) {
		return
	}
	t.Steps++
	for i, v := range r.stats {
		t.Stats[i] += v
	}
	if t.Domains == nil {
		t.Domains = map[string][2]float64{}
	}
	rows := r.rows
	for _, b := range batches {
		for _, domain := range b.domain {
			d := t.Domains[domain]
			t.Domains[domain] = [2]float64{d[0] + rows[0], d[1] + 1}
			rows = rows[1:]
		}
	}
	if t.Load == nil {
		t.Load = make([]float64, len(r.load))
	}
	for e, n := range r.load {
		t.Load[e] += n
	}
}

// measured is the record of the last step, with the means over the steps since the one
// before.
func (t *Trainer) measured(leg leg, l *learner, r result, lr float64) telemetry.Record {
	since := t.state.Since
	t.state.Since = tally{}
	mean := func(stat int) float64 { return since.Stats[stat] / float64(since.Steps) }
	rec := telemetry.Record{
		Step: t.state.Steps, Steps: t.allSteps(), Phase: leg.name(), Tokens: t.state.Tokens,
		Loss: mean(statLoss), LR: lr, GradNorm: r.norm,
		Losses: map[string]float64{"cross_entropy": mean(statCE)}, DomainLoss: map[string]float64{},
	}
	for domain, d := range since.Domains {
		rec.DomainLoss[domain] = d[0] / d[1]
	}
	if l.Model.Plain() {
		return rec
	}
	for name, stat := range map[string]int{"balance": statBalance, "z": statZ, "aggregator": statAggregator, "domain": statDomain} {
		rec.Losses[name] = mean(stat)
	}
	var total float64
	for _, n := range since.Load {
		total += n
	}
	for _, n := range since.Load {
		rec.EncoderUse = append(rec.EncoderUse, n/max(1, total))
	}
	share := func(a, b float64) *float64 {
		if b == 0 {
			return nil
		}
		v := a / b
		return &v
	}
	rec.RouterAgreement = share(since.Stats[statHits], since.Stats[statJudged])
	rec.Dropped = share(since.Stats[statDropped], total)
	return rec
}

// tell passes a record on, with what was used since the one before.
func (t *Trainer) tell(rec telemetry.Record) error {
	now := time.Now()
	rec.MemoryBytes, rec.Seconds = telemetry.ResidentBytes(), t.profiler.Take()
	rec.TokensPerSecond = float64(t.state.Tokens-t.tokens) / now.Sub(t.began).Seconds()
	t.began, t.tokens = now, t.state.Tokens
	return t.Record(rec)
}

// allSteps is how many steps the whole run has.
func (t *Trainer) allSteps() int64 {
	var n int64
	for _, leg := range t.legs {
		n += leg.steps
	}
	return n
}
