package trainer

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// watching is a back end that says which program it is about to execute.
type watching struct {
	compute.Backend
	executes func(program string)
}

func (w watching) Builder(name string) compute.Builder {
	return watchingBuilder{w.Backend.Builder(name), func() { w.executes(name) }}
}

type watchingBuilder struct {
	compute.Builder
	executes func()
}

func (w watchingBuilder) Compile() (compute.Executable, error) {
	e, err := w.Builder.Compile()
	return watchingExecutable{e, w.executes}, err
}

type watchingExecutable struct {
	compute.Executable
	executes func()
}

func (w watchingExecutable) Execute(inputs []compute.Buffer, donate []bool, device compute.DeviceNum) ([]compute.Buffer, error) {
	w.executes()
	return w.Executable.Execute(inputs, donate, device)
}

// stopped trains with checkpoints in dir, is stopped when a program is executed for the
// at-th time, and returns what came of it and the records.
func stopped(t *testing.T, b compute.Backend, dir, folder string, plan Plan, program string, at int) (*Trainer, Params, []telemetry.Record, error) {
	t.Helper()
	m, err := ckpt.Open(ckpt.Config{Dir: dir, Keep: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	executed := 0
	b = watching{b, func(name string) {
		if name == program {
			if executed++; executed == at {
				cancel()
			}
		}
	}}
	var records []telemetry.Record
	tr, err := New(Config{Backend: b, Model: trained(), Plan: plan, Data: folder, Checkpoints: m, Record: func(r telemetry.Record) error {
		records = append(records, r)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := tr.Run(ctx)
	return tr, p, records, err
}

// TestResumeLook: a run that is stopped while it looks at held-out text, also at the last
// step of a phase, takes the look when it goes on: records, weights and patience are those
// of a run that was not stopped.
func TestResumeLook(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder := prepared(t)
	plan := phases()
	plan.Batch, plan.Accumulate, plan.Validate, plan.Held, plan.Log, plan.Save = 2, 1, 2, 6, 3, 100
	const step = 2 * 16
	plan.Phases = []Phase{{Kind: Branch, Tokens: 4 * step, LR: 3, Patience: 2}}
	_, whole, records, err := stopped(t, b, filepath.Join(t.TempDir(), "whole"), folder, plan, "score", 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "parts")
	var parts []telemetry.Record
	var got Params
	due, atEnd := 0, 0
	for {
		tr, p, some, err := stopped(t, b, dir, folder, plan, "score", 4) // of three for a look
		parts = append(parts, some...)
		if err == nil {
			got = p
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if tr.state.Due != "" {
			due++
			if tr.state.Step == tr.legs[tr.state.Leg].steps {
				atEnd++
			}
		}
	}
	if due < 3 || atEnd < 1 {
		t.Errorf("stopped %d times within a look, %d times within the last of a phase: that shows little", due, atEnd)
	}
	if len(parts) != len(records) {
		t.Fatalf("%d records in parts, %d in one run", len(parts), len(records))
	}
	for i, want := range records {
		if r := parts[i]; r.Step != want.Step || r.Loss != want.Loss || r.Phase != want.Phase || r.Extra["valid_loss"] != want.Extra["valid_loss"] || r.GradNorm != want.GradNorm {
			t.Errorf("record %d is %+v\nin one run %+v", i, r, want)
		}
	}
	for name, p := range whole {
		if !slices.Equal(p.Values, got[name].Values) {
			t.Errorf("%s differs from that of one run", name)
		}
	}
}

// TestResumeOtherData: a run does not go on with other data, also where it was stopped
// between two phases.
func TestResumeOtherData(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder, plan := prepared(t), phases()
	plan.Phases = plan.Phases[:2]
	plan.Phases[0].Tokens /= 4
	for _, stop := range []int64{1, 2} {
		dir := filepath.Join(t.TempDir(), "run")
		if _, _, err := run(t, b, dir, folder, plan, stop); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		for want, other := range map[string]string{
			"have the vocabulary":            changed(t, folder, otherVocabulary),
			"have other text in train/birds": changed(t, folder, otherText(0)),
			"have other text in valid/birds": changed(t, folder, otherText(1)),
			"have no valid/birds":            preparedOf(t, map[string]int{"train": 40}),
		} {
			if _, _, err := run(t, b, dir, other, plan, -1); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "go on with the same data") {
				t.Errorf("stopped at %d: error %v, want one with %q", stop, err, want)
			}
		}
	}
}

// TestDataDifference: a domain more, less or otherwise is a difference, unless another
// domain is asked about.
func TestDataDifference(t *testing.T) {
	need := dataIdentity{"10 ids", map[string]string{"train/law": "a", "valid/law": "b", "train/a/b": "c"}}
	for _, tt := range []struct {
		edit         func(map[string]string)
		domain, want string
	}{
		{func(map[string]string) {}, "", ""},
		{func(m map[string]string) { m["train/new"] = "d" }, "", "have train/new, which those of the training have not"},
		{func(m map[string]string) { m["train/new"] = "d" }, "law", ""},
		{func(m map[string]string) { delete(m, "valid/law") }, "", "have no valid/law"},
		{func(m map[string]string) { m["train/a/b"] = "d" }, "a/b", "have other text in train/a/b than those of the training"},
		{func(m map[string]string) { m["train/a/b"] = "d" }, "law", ""},
	} {
		have := dataIdentity{"10 ids", map[string]string{"train/law": "a", "valid/law": "b", "train/a/b": "c"}}
		tt.edit(have.Shards)
		if got := need.difference(have, tt.domain); got != tt.want {
			t.Errorf("%v for %q: %q, want %q", have.Shards, tt.domain, got, tt.want)
		}
	}
}
