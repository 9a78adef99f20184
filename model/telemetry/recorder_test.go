package telemetry

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// opened opens a recorder that the test closes.
func opened(t testing.TB, cfg RecorderConfig) *Recorder {
	t.Helper()
	r, err := OpenRecorder(cfg)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// addAll adds records.
func addAll(t testing.TB, r *Recorder, records []Record) {
	t.Helper()
	for _, record := range records {
		must(t, r.Add(record))
	}
}

// stepsIn returns the steps in a folder's metrics.jsonl, read by encoding/json.
func stepsIn(t testing.TB, dir string) []int64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, MetricsFile))
	must(t, err)
	steps := []int64{}
	for line := range bytes.Lines(data) {
		var r struct{ Step int64 }
		must(t, json.Unmarshal(line, &r))
		steps = append(steps, r.Step)
	}
	return steps
}

// TestResume goes on from checkpoints after crashes of every kind.
func TestResume(t *testing.T) {
	cases := []struct {
		name string
		torn string
		step int64
		want []int64
	}{
		{"at the last record", "", 80, []int64{20, 40, 60, 80}},
		{"torn", `{"step":100,"lo`, 80, []int64{20, 40, 60, 80}},
		{"torn after a later checkpoint", `{"step":100,"lo`, 100, []int64{20, 40, 60, 80}},
		{"back", "", 50, []int64{20, 40}},
		{"back, torn", `{"step":`, 60, []int64{20, 40, 60}},
		{"a new run", `{"step":`, 0, []int64{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			r := opened(t, RecorderConfig{Dir: dir})
			addAll(t, r, run(4, 3))
			must(t, r.Close())
			f, err := os.OpenFile(filepath.Join(dir, MetricsFile), os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString(c.torn)
			must(t, err)
			must(t, f.Close())

			var log bytes.Buffer
			r = opened(t, RecorderConfig{Dir: dir, Step: c.step, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if cut := len(c.want) < 4 || c.torn != ""; cut != strings.Contains(log.String(), "records cut") {
				t.Errorf("log %q", log.String())
			}
			if got := len(r.History()); got != len(c.want) {
				t.Errorf("%d records in memory, want %d", got, len(c.want))
			}
			must(t, r.Add(Record{Step: c.step + 1, Loss: 1}))
			must(t, r.Close())
			if got, want := stepsIn(t, dir), append(c.want, c.step+1); !slices.Equal(got, want) {
				t.Errorf("steps %v, want %v", got, want)
			}
		})
	}
}

// TestCutAnywhere cuts the file at every byte, as a crash may: whole records stay.
func TestCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	r := opened(t, RecorderConfig{Dir: dir})
	addAll(t, r, []Record{{Step: 1, Loss: 3}, {Step: 2, Loss: 2, Phase: "joint"}})
	must(t, r.Close())
	path := filepath.Join(dir, MetricsFile)
	whole, err := os.ReadFile(path)
	must(t, err)
	for n := range len(whole) + 1 {
		must(t, os.WriteFile(path, whole[:n], 0o644))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		r := &Recorder{file: appendFile{File: f}}
		must(t, r.resume(9, slog.New(slog.DiscardHandler)))
		must(t, f.Close())
		left, err := os.ReadFile(path)
		must(t, err)
		if want := bytes.LastIndexByte(whole[:n], '\n') + 1; len(left) != want || len(r.History()) != bytes.Count(left, []byte("\n")) {
			t.Errorf("of %d bytes %d are left, want %d", n, len(left), want)
		}
	}
}

func TestRecorder(t *testing.T) {
	dir := t.TempDir()
	r := opened(t, RecorderConfig{Dir: dir})
	if _, ok := r.Last(); ok {
		t.Error("a record before the first")
	}
	records := run(60, 4)
	addAll(t, r, records)
	must(t, r.Sync())
	last, ok := r.Last()
	if diff := cmp.Diff(records[59], last, cmpopts.EquateNaNs()); diff != "" || !ok {
		t.Error(diff)
	}
	if err := r.Add(Record{Step: 1}); err == nil || !strings.Contains(err.Error(), "record step 1: step 1200 was recorded before") {
		t.Errorf("going back: %v", err)
	}
	if err := r.Add(Record{Step: 1201, Extra: map[string]any{"f": func() {}}}); err == nil || !strings.Contains(err.Error(), "encode the record of step 1201") {
		t.Errorf("what JSON cannot hold: %v", err)
	}
	must(t, r.Close())
	must(t, r.Close())
	if err := r.Add(Record{Step: 1300}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("after Close: %v", err)
	}
	if got := stepsIn(t, dir); len(got) != 60 {
		t.Errorf("%d records in the file", len(got))
	}
	must(t, os.WriteFile(filepath.Join(dir, MetricsFile), []byte("x\ny\n"), 0o644))
	if _, err := OpenRecorder(RecorderConfig{Dir: dir, Step: 5}); err == nil || !strings.Contains(err.Error(), "metrics.jsonl: line 1 is no record") {
		t.Errorf("a file of something else: %v", err)
	}
}

// TestRecordIsCopied holds that a trainer may use its maps again.
func TestRecordIsCopied(t *testing.T) {
	r := opened(t, RecorderConfig{Dir: t.TempDir()})
	losses := map[string]float64{"a": 1}
	must(t, r.Add(Record{Step: 1, Losses: losses}))
	losses["a"] = 2
	if last, _ := r.Last(); last.Losses["a"] != 1 {
		t.Errorf("the record changed to %v", last.Losses)
	}
}

func TestHistory(t *testing.T) {
	var h history
	for i := range int64(3*maxHistory + 1) {
		h.add(Record{Step: i})
	}
	all := h.all()
	if n := len(all); n < maxHistory/2 || n > maxHistory {
		t.Errorf("%d records are held", n)
	}
	if newest := all[len(all)-1].Step; newest != 3*maxHistory {
		t.Errorf("the newest is of step %d", newest)
	}
	for i := 1; i < len(all)-1; i++ {
		if all[i].Step-all[i-1].Step != 4 {
			t.Fatalf("steps %d and %d follow each other", all[i-1].Step, all[i].Step)
		}
	}
}

// TestTogether uses a recorder from several goroutines, for the race detector.
func TestTogether(t *testing.T) {
	r := opened(t, RecorderConfig{Dir: t.TempDir()})
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for range 20 {
				if err := r.Add(Record{Step: 1, Losses: map[string]float64{"a": 1}}); err != nil {
					t.Error(err)
				}
				r.Last()
				_ = len(r.History())
			}
		})
	}
	group.Wait()
	if n := len(r.History()); n != 60 {
		t.Errorf("%d records", n)
	}
}
