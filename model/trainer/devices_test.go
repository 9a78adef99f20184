package trainer

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// TestDevices: a batch that several devices share gives what it gives on one: losses,
// drops and loads are those of the whole batch.
func TestDevices(t *testing.T) {
	b := testkit.Backend(t, "xla:cpu")
	if b.NumDevices() < testkit.CPUDevices {
		t.Fatalf("the back end has %d devices, want %d", b.NumDevices(), testkit.CPUDevices)
	}
	if testing.Short() {
		t.Skip("SKIPPED with -short: it compiles a dozen programs")
	}
	for name, model := range map[string]swarm.Config{"plain": plain(mamba.Mamba2), "swarm": tiny(mamba.Mamba2)} {
		t.Run(name, func(t *testing.T) {
			var want []result
			for _, devices := range []int{1, 2, 4} {
				l := tinyLearner(t, b, model, func(c *learnerConfig) {
					c.Batch, c.SeqLen, c.Devices, c.Learn = 8, 8, devices, swarm.LearnConfig{Capacity: 1}
				})
				got := fewSteps(t, l)
				if devices == 1 {
					want = got
					if !model.Plain() && want[0].stats[statDropped] == 0 {
						t.Error("nothing is dropped: the capacity is not shown to be that of the whole batch")
					}
					continue
				}
				for step, r := range got {
					if err := near(r.stats[:], want[step].stats[:]); err != nil {
						t.Errorf("%d devices, step %d: %v", devices, step, err)
					}
					if err := near(r.rows, want[step].rows); err != nil {
						t.Errorf("%d devices, step %d, texts: %v", devices, step, err)
					}
					if !slices.Equal(r.load, want[step].load) {
						t.Errorf("%d devices, step %d: load %v, on one %v", devices, step, r.load, want[step].load)
					}
					if math.Abs(r.norm-want[step].norm) > 1e-4*want[step].norm {
						t.Errorf("%d devices, step %d: norm %v, on one %v", devices, step, r.norm, want[step].norm)
					}
				}
			}
		})
	}
}

// fewSteps learns from two batches a step whose texts do not weigh the same.
func fewSteps(t *testing.T, l *learner) (results []result) {
	t.Helper()
	batch := tinyBatch(l.Model, l.Batch, l.SeqLen)
	for i := range batch.weight {
		batch.weight[i] = 0.5 + float32(i)
	}
	for range 4 {
		r, err := l.step([]rowsOfBatch{batch, batch}, 0.01)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	return results
}

// near compares to 1e-5, relative above 1.
func near(got, want []float64) error {
	for i, v := range got {
		if !(math.Abs(v-want[i]) <= 1e-5*max(1, math.Abs(want[i]))) {
			return fmt.Errorf("value %d: %v, on one device %v", i, v, want[i])
		}
	}
	return nil
}

// TestDevicesRefused: what cannot be shared out is said before anything is compiled.
func TestDevicesRefused(t *testing.T) {
	b := testkit.Backend(t, "xla:cpu")
	folder := prepared(t)
	for devices, want := range map[int]string{3: "2 texts at a time (batch 4, accumulate 2) cannot be shared out to 3 devices", 99: "99 are asked for, the back end has 4"} {
		_, err := New(Config{Backend: b, Model: trained(), Plan: phases(), Data: folder, Devices: devices})
		if !errors.Is(err, ErrDevices) || !strings.Contains(err.Error(), want) {
			t.Errorf("%d devices: error %v, want %q", devices, err, want)
		}
	}
}
