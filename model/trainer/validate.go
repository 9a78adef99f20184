package trainer

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// heldOut is the cross-entropy on packed rows of the split valid, routed as in use.
type heldOut struct {
	rows         int
	sum          float64
	byDomain     map[string][2]float64 // sum and rows
	hits, judged float64
	dropped      float64
}

// mean is over rows, in nats a token; NaN if there are none.
func (h heldOut) mean() float64 {
	if h.rows == 0 {
		return math.NaN()
	}
	return h.sum / float64(h.rows)
}

// validate scores the held-out rows of the leg's domains; data without any are none.
func (t *Trainer) validate(ctx context.Context, leg leg, l *learner) (heldOut, error) {
	h := heldOut{byDomain: map[string][2]float64{}}
	rows, err := t.heldRows(leg)
	if err != nil {
		return h, err
	}
	for chunk := range slices.Chunk(rows, l.Batch) {
		if err := ctx.Err(); err != nil {
			return h, err
		}
		var batch rowsOfBatch
		for _, row := range chunk {
			batch.ids = append(batch.ids, row.ids...)
			batch.add(t.Model, row.domain, 1)
		}
		for len(batch.encoder) < l.Batch { // a last batch is filled up with its first text
			batch.encoder, batch.runs, batch.weight = append(batch.encoder, -1), append(batch.runs, -1), append(batch.weight, 1)
			batch.ids = append(batch.ids, chunk[0].ids...)
		}
		ce, stats, err := l.score(batch)
		if err != nil {
			return h, err
		}
		for i, row := range chunk {
			d := h.byDomain[row.domain]
			h.byDomain[row.domain] = [2]float64{d[0] + float64(ce[i]), d[1] + 1}
			h.sum, h.rows = h.sum+float64(ce[i]), h.rows+1
		}
		h.hits, h.judged, h.dropped = h.hits+float64(stats[statHits]), h.judged+float64(stats[statJudged]), h.dropped+float64(stats[statDropped])
	}
	return h, nil
}

// heldRow is a packed row of held-out text.
type heldRow struct {
	ids    []int32
	domain string
}

// heldRows returns the rows of the split valid that a leg looks at, the domains mixed so
// that no encoder has more than its share of a batch.
func (t *Trainer) heldRows(leg leg) ([]heldRow, error) {
	if t.held == nil {
		all, err := t.readHeld()
		if err != nil {
			return nil, err
		}
		t.held = &all
	}
	var rows []heldRow
	for _, row := range *t.held {
		if leg.domain == "" || leg.domain == row.domain {
			rows = append(rows, row)
		}
	}
	rand.New(rand.NewPCG(0, 0)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	if t.Plan.Held > 0 {
		rows = rows[:min(len(rows), t.Plan.Held)]
	}
	return rows, nil
}

// readHeld reads all rows of the split valid; data without it have none.
func (t *Trainer) readHeld() ([]heldRow, error) {
	manifest, err := data.ReadManifest(t.Data)
	if err != nil {
		return nil, err
	}
	if _, ok := manifest.Split(data.Valid); !ok {
		return nil, nil
	}
	all, err := data.Rows(t.Data, data.Valid, t.Plan.SeqLen)
	if err != nil {
		return nil, err
	}
	var rows []heldRow
	for row, err := range all {
		if err != nil {
			return nil, err
		}
		rows = append(rows, heldRow{slices.Clone(row.IDs), manifest.Domains[row.Domain].Name})
	}
	return rows, nil
}

// record tells how the run goes.
func (t *Trainer) record(leg leg, l *learner, batches []rowsOfBatch, r result, lr float64, held heldOut) error {
	now := time.Now()
	rec := telemetry.Record{
		Step: t.state.Steps, Steps: t.allSteps(), Phase: string(leg.phase.Kind), Tokens: t.state.Tokens,
		Loss: r.stats[statLoss], LR: lr, GradNorm: r.norm, MemoryBytes: telemetry.ResidentBytes(),
		TokensPerSecond: float64(t.state.Tokens-t.tokens) / now.Sub(t.began).Seconds(),
		Losses:          map[string]float64{"cross_entropy": r.stats[statCE]},
		DomainLoss:      byDomain(batches, r.rows), Extra: map[string]any{},
	}
	t.began, t.tokens = now, t.state.Tokens
	if leg.domain != "" {
		rec.Phase += " " + leg.domain
	}
	if !l.Model.Plain() {
		rec.Losses["balance"], rec.Losses["z"] = r.stats[statBalance], r.stats[statZ]
		rec.Losses["aggregator"], rec.Losses["domain"] = r.stats[statAggregator], r.stats[statDomain]
		var total float64
		for _, n := range r.load {
			total += n
		}
		for _, n := range r.load {
			rec.EncoderUse = append(rec.EncoderUse, n/max(1, total))
		}
		share := func(a, b float64) *float64 {
			if b == 0 {
				return nil
			}
			v := a / b
			return &v
		}
		rec.RouterAgreement = share(r.stats[statHits], r.stats[statJudged])
		rec.Dropped = share(r.stats[statDropped], total)
	}
	if held.rows > 0 {
		rec.Extra["valid_loss"] = held.mean()
		for name, d := range held.byDomain {
			rec.Extra["valid_loss/"+name] = d[0] / d[1]
		}
		if held.judged > 0 {
			rec.Extra["valid_router_agreement"] = held.hits / held.judged
			rec.Extra["valid_dropped"] = held.dropped
		}
	}
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

// byDomain is the mean cross-entropy of the texts of each domain.
func byDomain(batches []rowsOfBatch, rows []float64) map[string]float64 {
	sum, n := map[string]float64{}, map[string]float64{}
	i := 0
	for _, b := range batches {
		for _, domain := range b.domain {
			sum[domain], n[domain] = sum[domain]+rows[i], n[domain]+1
			i++
		}
	}
	for domain := range sum {
		sum[domain] /= n[domain]
	}
	return sum
}

// put brings a batch to the device.
func (l *learner) put(b rowsOfBatch) error {
	shape := func(t dtypes.DType, dims ...int) shapes.Shape { return shapes.Make(t, dims...) }
	return firstError(
		l.upload("ids", b.ids, shape(dtypes.Int32, l.Batch, l.SeqLen+1), true),
		l.upload("encoder", b.encoder, shape(dtypes.Int32, l.Batch), true),
		l.upload("runs", b.runs, shape(dtypes.Int32, l.Batch), true),
		l.upload("weight", b.weight, shape(dtypes.Float32, l.Batch), true),
	)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
