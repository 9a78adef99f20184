package trainer

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

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

// look validates after a step whose record is due, and tells the record. When ctx ends
// meanwhile the look is still to be taken.
func (t *Trainer) look(ctx context.Context, leg leg, l *learner) error {
	if t.state.Due == "" {
		return nil
	}
	records, err := telemetry.ReadRecords(strings.NewReader(t.state.Due))
	if err == nil && len(records) != 1 {
		err = fmt.Errorf("%d records instead of one", len(records))
	}
	if err != nil {
		return fmt.Errorf("the record of step %d that is due: %w", t.state.Steps, err)
	}
	stop := t.profiler.Start("validation")
	held, err := t.validate(ctx, leg, l)
	if err == nil {
		err = t.watch(leg, l, held)
	}
	stop()
	if err != nil {
		return err
	}
	if loss := held.mean(); loss-loss == 0 {
		t.state.Held = &judged{fmt.Sprintf("%d %s", leg.place, leg.name()), loss}
	}
	records[0].Extra = held.extra()
	t.state.Due = ""
	return t.tell(records[0])
}

// extra is what a record says of a look.
func (h heldOut) extra() map[string]any {
	if h.rows == 0 {
		return nil
	}
	extra := map[string]any{"valid_loss": h.mean()}
	for name, d := range h.byDomain {
		extra["valid_loss/"+name] = d[0] / d[1]
	}
	if h.judged > 0 {
		extra["valid_router_agreement"] = h.hits / h.judged
		extra["valid_dropped"] = h.dropped
	}
	return extra
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
