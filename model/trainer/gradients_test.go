package trainer

import (
	"encoding/binary"
	"math"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// TestGradientsArePyTorchs: loss and gradient of every tensor are those that PyTorch
// computed in float64 (scripts/fixtures/gradients.py).
func TestGradientsArePyTorchs(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, name := range []string{"mamba", "mamba2", "swarm-mamba", "swarm-mamba2"} {
			t.Run(name, func(t *testing.T) {
				dir := filepath.Join("testdata", "gradients", name)
				model, err := hub.FromPretrained(t.Context(), dir, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer model.Close()
				c := model.Config.Swarm
				start, err := Read(t.Context(), c, model)
				if err != nil {
					t.Fatal(err)
				}
				want, err := safetensors.Open(filepath.Join(dir, "gradients.safetensors"))
				if err != nil {
					t.Fatal(err)
				}
				defer want.Close()
				batch, T := fixtureBatch(t, want)
				l, err := newLearner(b, learnerConfig{Model: c, Trainable: func(string) bool { return true }, SeqLen: T, Batch: len(batch.weight), Devices: 1,
					Learn: swarm.LearnConfig{Capacity: float64(c.Router.NumEncoders)}, owned: make([]bool, c.Router.NumEncoders)}, start)
				if err != nil {
					t.Fatal(err)
				}
				defer l.close()
				compareGradients(t, l, batch, want)
			})
		}
	})
}

// fixtureBatch takes the texts of a fixture, all of one weight.
func fixtureBatch(t *testing.T, f *safetensors.File) (b rowsOfBatch, T int) {
	t.Helper()
	ids, ok := f.Tensor("ids")
	if !ok {
		t.Fatal("no ids")
	}
	data, err := ids.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(data); at += 4 {
		b.ids = append(b.ids, int32(binary.LittleEndian.Uint32(data[at:])))
	}
	for range ids.Shape[0] {
		b.encoder, b.runs, b.weight = append(b.encoder, -1), append(b.runs, -1), append(b.weight, 1)
	}
	return b, ids.Shape[1] - 1
}

// compareGradients runs the gradients' program and compares all of what it gives.
func compareGradients(t *testing.T, l *learner, batch rowsOfBatch, want *safetensors.File) {
	t.Helper()
	if err := l.put(batch); err != nil {
		t.Fatal(err)
	}
	out, err := l.gradients.run(l.Devices, l.state)
	if err != nil {
		t.Fatal(err)
	}
	defer out.finalize()
	stats, err := read[float32](out["stats"], numStats)
	if err != nil {
		t.Fatal(err)
	}
	if loss := expected(t, want, "loss")[0]; math.Abs(float64(stats[statLoss]-loss)) > 1e-5 {
		t.Errorf("loss %v, PyTorch's is %v", stats[statLoss], loss)
	}
	if stats[statDropped] != 0 {
		t.Errorf("%v chunks dropped", stats[statDropped])
	}
	compared := 0
	for _, tensor := range l.tensors {
		if tensor.Name == balanceBias {
			continue
		}
		got, err := read[float32](out["g/"+tensor.Name], tensor.Elements())
		if err != nil {
			t.Fatal(err)
		}
		size := len(got) / len(tensor.parts)
		for i, name := range tensor.parts {
			compared++
			values := expected(t, want, name)
			largest := 0.0
			for _, w := range values {
				largest = max(largest, math.Abs(float64(w)))
			}
			for at, w := range values {
				if g := got[i*size+at]; !(math.Abs(float64(g-w)) <= 1e-4*max(0.1, largest)) {
					t.Errorf("gradient of %s, value %d: %v, PyTorch's is %v", name, at, g, w)
					break
				}
			}
		}
	}
	if compared != len(want.Names())-2 {
		t.Errorf("%d tensors compared, PyTorch has gradients of %d", compared, len(want.Names())-2)
	}
}

// expected reads a tensor of a fixture.
func expected(t *testing.T, f *safetensors.File, name string) []float32 {
	t.Helper()
	tensor, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("the fixture has no %s", name)
	}
	data, err := tensor.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return floats(data)
}
