package trainer

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// TestWorkerStopsInLook: a worker that is told to end while it looks at held-out text leaves
// what the next one needs to take the look, and to keep the best weights of before.
func TestWorkerStopsInLook(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder, plan := prepared(t), short(Branch, 4)
	plan.Validate, plan.Held, plan.Phases[0].LR, plan.Phases[0].Patience = 1, 4, 30, 4
	server, boss := open(t)
	c := spreadOver(b, boss, folder, plan)
	alone := c
	alone.Spread = nil
	want, records, err := finish(t, alone)
	if err != nil {
		t.Fatal(err)
	}
	loss := func(i int) float64 { return records[i].Extra["valid_loss"].(float64) }
	if least := min(loss(0), loss(1)); least >= min(loss(2), loss(3)) {
		t.Fatalf("the first branch is best at its end, %v: that shows little", []float64{loss(0), loss(1), loss(2), loss(3)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	stops := watching{b, func(program string) {
		if program == "score" {
			if looks++; looks == 5 { // the third look's first of two
				cancel()
			}
		}
	}}
	var got Params
	var told []telemetry.Record
	done := make(chan error, 1)
	go func() {
		var err error
		got, told, err = finish(t, c)
		done <- err
	}()
	if err := <-work(ctx, WorkerConfig{Backend: stops, Queue: connect(t, server, "w1", nil), Data: folder}); !errors.Is(err, context.Canceled) {
		t.Fatalf("worker: %v", err)
	}
	log, text := logged()
	ctx, cancel = context.WithCancel(t.Context())
	ended := work(ctx, WorkerConfig{Backend: b, Queue: connect(t, server, "w2", nil), Data: folder, Logger: log})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	cancel()
	<-ended
	sameParams(t, want, got)
	if !strings.Contains(text.text(), "from_step=3") {
		t.Errorf("log:\n%s", text.text())
	}
	if len(told) != len(records) {
		t.Fatalf("%d records, in one process %d", len(told), len(records))
	}
	for i, r := range records {
		if told[i].Step != r.Step || told[i].Loss != r.Loss || told[i].Extra["valid_loss"] != r.Extra["valid_loss"] {
			t.Errorf("record %+v\nin one process %+v", told[i], r)
		}
	}
}
