package trainer

import (
	"encoding/binary"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// TestGradientsArePyTorchs: losses and gradient of every tensor are those that PyTorch
// computed in float64 (scripts/fixtures/gradients.py): of the cross-entropy alone, and of
// all losses of a swarm, whose plan, load and early exits have no gradient.
func TestGradientsArePyTorchs(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, name := range []string{"mamba/gradients", "mamba2/gradients", "swarm-mamba/gradients", "swarm-mamba/losses", "swarm-mamba2/gradients", "swarm-mamba2/losses"} {
			t.Run(name, func(t *testing.T) {
				file := filepath.Join("testdata", "gradients", name+".safetensors")
				dir := filepath.Dir(file)
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
				want, err := safetensors.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				defer want.Close()
				config := learnerConfig{Model: c, Trainable: func(string) bool { return true }, Devices: 1,
					Learn: swarm.LearnConfig{Capacity: float64(c.Router.NumEncoders)}, owned: make([]bool, c.Router.NumEncoders)}
				var batch rowsOfBatch
				batch, config.SeqLen = fixtureBatch(t, want)
				config.Batch = len(batch.weight)
				if _, ok := want.Tensor("weights"); ok {
					w := expected(t, want, "weights")
					config.Losses = Losses{Balance: float64(w[0]), Z: float64(w[1]), Aggregator: float64(w[2]), Domain: float64(w[3])}
					for e, owned := range integers(t, want, "owned") {
						config.owned[e] = owned == 1
					}
					batch.encoder, batch.weight = integers(t, want, "encoder"), expected(t, want, "weight")
				}
				l, err := newLearner(b, config, start)
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
	ids, _ := f.Tensor("ids")
	b.ids = integers(t, f, "ids")
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
	for name, stat := range map[string]int{"loss": statLoss, "cross_entropy": statCE, "balance": statBalance, "z": statZ, "aggregator": statAggregator, "domain": statDomain} {
		if _, ok := want.Tensor(name); !ok {
			continue
		}
		if w := expected(t, want, name)[0]; !(math.Abs(float64(stats[stat]-w)) <= 1e-5*max(1, math.Abs(float64(w)))) {
			t.Errorf("%s %v, PyTorch's is %v", name, stats[stat], w)
		}
	}
	if _, ok := want.Tensor("load"); ok {
		load, err := read[float32](out["load"], l.Model.Router.NumEncoders)
		if err != nil {
			t.Fatal(err)
		}
		if w := expected(t, want, "load"); !slices.Equal(load, w) {
			t.Errorf("load %v, PyTorch's is %v", load, w)
		}
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
	gradients := slices.DeleteFunc(want.Names(), func(name string) bool { return !strings.Contains(name, ".") })
	if compared != len(gradients) {
		t.Errorf("%d tensors compared, PyTorch has gradients of %d", compared, len(gradients))
	}
}

// integers reads an int32 tensor of a fixture.
func integers(t *testing.T, f *safetensors.File, name string) (values []int32) {
	t.Helper()
	for data := content(t, f, name); len(data) > 0; data = data[4:] {
		values = append(values, int32(binary.LittleEndian.Uint32(data)))
	}
	return values
}

// expected reads an f32 tensor of a fixture.
func expected(t *testing.T, f *safetensors.File, name string) []float32 {
	t.Helper()
	return floats(content(t, f, name))
}

func content(t *testing.T, f *safetensors.File, name string) []byte {
	t.Helper()
	tensor, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("the fixture has no %s", name)
	}
	data, err := tensor.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return data
}
