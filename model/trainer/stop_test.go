package trainer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// TestStopAfterFailedSave: a save in the background fails, then the run is stopped. Its
// last state is saved all the same, and only then the run is one that was stopped.
func TestStopAfterFailedSave(t *testing.T) {
	b, folder := testkit.Backend(t, "go"), prepared(t)
	plan := phases()
	plan.Phases, plan.Save = plan.Phases[:1], 2
	for _, mended := range []bool{true, false} {
		dir := t.TempDir()
		temp := filepath.Join(dir, "tmp") // where checkpoints are written; a file in its place keeps them from it
		m, err := ckpt.Open(ckpt.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		tr, err := New(Config{Backend: b, Model: trained(), Plan: plan, Data: folder, Checkpoints: m, Record: func(r telemetry.Record) error {
			switch r.Step {
			case 2: // its checkpoint comes next
				return errors.Join(os.Remove(temp), os.WriteFile(temp, nil, 0o666))
			case 3:
				for m.Stats().Busy == 0 {
					time.Sleep(time.Millisecond)
				}
				cancel()
				if mended {
					return errors.Join(os.Remove(temp), os.Mkdir(temp, 0o777))
				}
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = tr.Run(ctx)
		list := m.List()
		if mended && (!errors.Is(err, context.Canceled) || len(list) != 1 || list[0].Step != 3) {
			t.Errorf("stopped with room on the disk: %v, checkpoints %v", err, list)
		}
		if !mended && (err == nil || errors.Is(err, context.Canceled) || len(list) != 0) {
			t.Errorf("stopped without: %v, checkpoints %v", err, list)
		}
	}
}
