package trainer

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/ckpt"
)

// errGone is what a driver may say of a device that is no longer there.
var errGone = errors.New("CUDA_ERROR_DEVICE_UNAVAILABLE")

// vanishing is a back end whose device is gone after some executions.
type vanishing struct {
	compute.Backend
	left *int
}

func (v vanishing) Builder(name string) compute.Builder {
	return vanishingBuilder{v.Backend.Builder(name), v.left}
}

type vanishingBuilder struct {
	compute.Builder
	left *int
}

func (v vanishingBuilder) Compile() (compute.Executable, error) {
	e, err := v.Builder.Compile()
	return vanishingExecutable{e, v.left}, err
}

type vanishingExecutable struct {
	compute.Executable
	left *int
}

func (v vanishingExecutable) Execute(inputs []compute.Buffer, donate []bool, device compute.DeviceNum) ([]compute.Buffer, error) {
	if *v.left--; *v.left < 0 {
		return nil, errGone
	}
	return v.Executable.Execute(inputs, donate, device)
}

// TestDeviceVanishes: whenever the device goes, the run ends with a sentence that says so
// and what is left; with the device back it goes on to the same weights.
func TestDeviceVanishes(t *testing.T) {
	b := testkit.Backend(t, "go")
	folder, plan := prepared(t), phases()
	plan.Phases, plan.Validate, plan.Held, plan.Save = plan.Phases[:1], 2, 4, 2
	whole, _, err := run(t, b, filepath.Join(t.TempDir(), "whole"), folder, plan, -1)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "parts")
	left, want := 2, "after step 0: the device failed: run update: CUDA_ERROR_DEVICE_UNAVAILABLE; there was no checkpoint yet"
	if _, _, err := run(t, vanishing{b, &left}, dir, folder, plan, -1); !errors.Is(err, ErrDevice) || !errors.Is(err, errGone) || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	ends := 0
	for left := 9; ; left++ {
		left := left
		got, _, err := run(t, vanishing{b, &left}, dir, folder, plan, -1)
		if err == nil {
			for name, p := range whole {
				if !slices.Equal(p.Values, got[name].Values) {
					t.Errorf("%s differs from that of one run", name)
				}
			}
			break
		}
		ends++
		if !errors.Is(err, errGone) || !strings.Contains(err.Error(), "is intact, the same command goes on from it") {
			t.Fatalf("error %q", err)
		}
		m, err := ckpt.Open(ckpt.Config{Dir: dir, Keep: 2})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Last(); err != nil {
			t.Errorf("the last checkpoint: %v", err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if ends < 3 {
		t.Errorf("the device vanished %d times", ends)
	}
}
