package trainer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// short is a plan of small steps: of a joint phase, or of branches.
func short(kind Kind, steps int64) Plan {
	return Plan{Seed: 3, SeqLen: 16, Batch: 2, Capacity: 3, Log: 10, Phases: []Phase{{Kind: kind, Tokens: steps * 2 * 16, LR: 0.01}}}
}

// TestLastStepRecorded: the last step of each phase is recorded, also of a short one
// without held-out text.
func TestLastStepRecorded(t *testing.T) {
	plan := short(Seed, 3)
	plan.Phases = append(plan.Phases, short(Route, 2).Phases...)
	_, records, err := finish(t, Config{Backend: testkit.Backend(t, "go"), Model: trained(), Plan: plan, Data: preparedOf(t, map[string]int{"train": 40})})
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 2 || records[0].Step != 3 || records[1].Step != 5 || records[0].Phase != "seed" || records[1].Phase != "router" {
		t.Errorf("records %+v", records)
	}
}

// TestRecordIsMean: a record has the means over all steps since the one before, also where
// the run was stopped meanwhile.
func TestRecordIsMean(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder, plan := preparedOf(t, map[string]int{"train": 40}), short(Joint, 4)
	_, whole, _, err := stopped(t, b, filepath.Join(t.TempDir(), "whole"), folder, plan, "update", 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "parts")
	if _, _, records, err := stopped(t, b, dir, folder, plan, "update", 2); !errors.Is(err, context.Canceled) || len(records) != 0 {
		t.Fatalf("%v, %d records", err, len(records))
	}
	_, parts, got, err := stopped(t, b, dir, folder, plan, "update", 0)
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %d records", err, len(got))
	}
	sameParams(t, whole, parts)
	plan.Log = 1
	_, records, err := finish(t, Config{Backend: b, Model: trained(), Plan: plan, Data: folder})
	if err != nil || len(records) != 4 {
		t.Fatalf("%v, %d records", err, len(records))
	}
	var loss, cross, texts float64
	use := make([]float64, 4)
	for _, r := range records {
		loss += r.Loss / 4
		cross += r.Losses["cross_entropy"] / 4
		for e, share := range r.EncoderUse {
			use[e] += share / 4
		}
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if !(math.Abs(got-want) <= 1e-9) {
			t.Errorf("%s %v, want %v", what, got, want)
		}
	}
	r := got[0]
	near("loss", r.Loss, loss)
	near("cross-entropy", r.Losses["cross_entropy"], cross)
	for e, share := range use {
		near("use", r.EncoderUse[e], share)
	}
	for domain, d := range sumOfTexts(t, folder, plan) {
		texts += d * r.DomainLoss[domain]
	}
	if math.Abs(texts/8-cross) > 1e-5 { // of f32 means
		t.Errorf("the domains' losses %v have the mean %v, want %v", r.DomainLoss, texts/8, cross)
	}
	if r.Seconds["data"] <= 0 || r.Seconds["step"] <= 0 {
		t.Errorf("seconds %v", r.Seconds)
	}
}

// sumOfTexts counts the texts of each domain that a plan of one phase reads.
func sumOfTexts(t *testing.T, folder string, plan Plan) map[string]float64 {
	t.Helper()
	tr, err := New(Config{Backend: testkit.Backend(t, "go"), Model: trained(), Plan: plan, Data: folder})
	if err != nil {
		t.Fatal(err)
	}
	loader, err := tr.loader(tr.legs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer loader.Close()
	texts := map[string]float64{}
	for range tr.legs[0].steps {
		batch, err := loader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range batch.Domain {
			texts[loader.Domains()[d]]++
		}
	}
	return texts
}

// TestSkippedStepsAreNoMean: a step whose gradient is not finite has no part in a record,
// and one of such steps alone has no loss.
func TestSkippedStepsAreNoMean(t *testing.T) {
	var since tally
	batches := []rowsOfBatch{{domain: []string{"law", "birds"}}, {domain: []string{"law"}}}
	bad := result{norm: math.Inf(1), rows: []float64{math.NaN(), 1, 1}}
	since.add(batches, bad)
	tr := Trainer{state: state{Since: since}}
	l := &learner{learnerConfig: learnerConfig{Model: trained().Dense()}}
	if r := tr.measured(leg{}, l, bad, 1); !math.IsNaN(r.Loss) || len(r.DomainLoss) > 0 {
		t.Errorf("loss %v, by domain %v", r.Loss, r.DomainLoss)
	}
	for i := range 2 {
		tr.state.Since.add(batches, result{stats: [numStats]float64{statLoss: float64(i)}, rows: []float64{1, 2, 4 + float64(i)}})
		tr.state.Since.add(batches, bad)
	}
	if r := tr.measured(leg{}, l, bad, 1); r.Loss != 0.5 || r.DomainLoss["law"] != 11./4 || r.DomainLoss["birds"] != 2 {
		t.Errorf("loss %v, by domain %v", r.Loss, r.DomainLoss)
	}
}

// TestBranchCheckpoints: a branch phase writes that encoder alone, each checkpoint knows the
// last look at held-out text and is compared within its branch, the records are on the disk
// before it, and the time that training waits is told.
func TestBranchCheckpoints(t *testing.T) {
	m, err := ckpt.Open(ckpt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	plan := short(Branch, 5)
	plan.Validate, plan.Held, plan.Save = 2, 2, 3
	log, text := logged()
	var records, synced []telemetry.Record
	tr, err := New(Config{Backend: testkit.Backend(t, "go"), Model: trained(), Plan: plan, Data: prepared(t), Start: Init(trained(), 1), Checkpoints: m, Logger: log,
		Record: func(r telemetry.Record) error { records = append(records, r); return nil },
		Sync:   func() error { synced = append(synced, records[len(records)-1]); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := m.List()
	if len(list) != 6 || len(synced) != 6 {
		t.Fatalf("%d checkpoints, want one within each branch and one behind it; records synced %d times", len(list), len(synced))
	}
	var model, encoder int64
	for _, spec := range tr.Model.Tensors() {
		model += 4 * int64(spec.Elements())
	}
	for _, spec := range tr.Model.EncoderTensors(1) {
		encoder += 4 * int64(spec.Elements())
	}
	for i, info := range list {
		last := map[bool]int64{true: 2, false: 5}[i%2 == 0] + int64(i/2*5) // look before or at the checkpoint
		if synced[i].Step != last || info.Loss != synced[i].Extra["valid_loss"] {
			t.Errorf("checkpoint %d has the loss %v; the last record before it is of step %d with %v", info.Step, info.Loss, synced[i].Step, synced[i].Extra["valid_loss"])
		}
		s, err := m.Load(info.Step)
		if want := []string{"0 branch birds", "0 branch law", "0 branch stars"}[i/2]; err != nil || s.Stage != want {
			t.Errorf("checkpoint %d is of stage %q, %v; want %q", info.Step, s.Stage, err, want)
		}
	}
	// Within a branch encoder and optimizer change, behind it the encoder.
	if wrote, most := m.Stats().WrittenBytes, model+3*(3*encoder+encoder); wrote > most || wrote < most-model {
		t.Errorf("%d bytes written; the model has %d, an encoder %d", wrote, model, encoder)
	}
	if encoder*20 > model {
		t.Fatalf("an encoder has %d bytes, the model %d: that shows little", encoder, model)
	}
	if records[0].Seconds["validation"] <= 0 || records[1].Seconds["checkpoint"] <= 0 {
		t.Errorf("seconds %v, then %v", records[0].Seconds, records[1].Seconds)
	}
	if !strings.Contains(text.text(), fmt.Sprintf(`msg="training waited for checkpoints" time=%v of=`, tr.saving.Round(time.Millisecond))) || tr.saving <= 0 {
		t.Errorf("the log does not tell how long training waited:\n%s", text.text())
	}
}
