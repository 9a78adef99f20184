package swarm

import (
	"math"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/mamba-encoder-swarm/mes/internal/num"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// TestDrawGreedy compares greedy draws on the device with the same tokens read and
// chosen one by one on the host, in a swarm that changes its encoders.
func TestDrawGreedy(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, kind := range []mamba.Kind{mamba.Mamba1, mamba.Mamba2} {
			c := tinySwarm(kind)
			c.Router.ChunkLength = 2 * drawLength
			m := load(t, b, c, lively(c, 51), Options{})
			m.onGPU = true // whatever the back end is
			const tokens = 5 * drawLength
			host, device := session(t, m, ""), session(t, m, "")
			want, wantLogprobs, got, gotLogprobs := []int32{3}, []float64{0}, []int32{3}, []float64{0}
			for len(want) <= tokens {
				logits, _, err := host.Feed(t.Context(), want[len(want)-1:])
				if err != nil {
					t.Fatal(err)
				}
				best := num.TopK(logits, 1)[0]
				want = append(want, int32(best))
				wantLogprobs = append(wantLogprobs, float64(logits[best])-num.LogSumExp(logits))
			}
			dice, err := m.Dice(1, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer dice.Close()
			for len(got) <= tokens {
				if device.DrawLength() != drawLength {
					t.Fatalf("no draw at position %d", device.Position())
				}
				d, err := device.Draw(t.Context(), got[len(got)-1], dice)
				if err != nil {
					t.Fatal(err)
				}
				if n := d.Chunks[len(d.Chunks)-1].End; n != device.Position() {
					t.Errorf("chunks end at %d, position %d", n, device.Position())
				}
				got, gotLogprobs = append(got, d.IDs...), append(gotLogprobs, d.Logprobs...)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: drew %v, want %v", kind, got, want)
			}
			for i := range wantLogprobs {
				if d := math.Abs(gotLogprobs[i] - wantLogprobs[i]); !(d <= 1e-4) {
					t.Errorf("%s: log-probability %d differs by %g", kind, i, d)
				}
			}
		}
	})
}

// TestDrawFrequencies draws many first tokens and compares their frequencies with
// the softmax of the logits (chi-squared, 99.99 %), and draws twice from one seed.
func TestDrawFrequencies(t *testing.T) {
	c := tinySwarm(mamba.Mamba2)
	m := load(t, testkit.Backend(t, "go"), c, lively(c, 52), Options{})
	m.onGPU = true
	const temperature, draws = 1.5, 300
	logits, _, err := session(t, m, "").Feed(t.Context(), []int32{3})
	if err != nil {
		t.Fatal(err)
	}
	scaled := make([]float64, len(logits))
	for i, v := range logits {
		scaled[i] = float64(v) / temperature
	}
	num.Softmax(scaled, scaled)
	count := make([]float64, len(logits))
	first := func(seed uint64) []int32 {
		dice, err := m.Dice(seed, temperature)
		if err != nil {
			t.Fatal(err)
		}
		defer dice.Close()
		s := session(t, m, "")
		defer s.Close()
		d, err := s.Draw(t.Context(), 3, dice)
		if err != nil {
			t.Fatal(err)
		}
		return d.IDs
	}
	for seed := range uint64(draws) {
		count[first(seed)[0]]++
	}
	chi := 0.0
	for i, p := range scaled {
		chi += (count[i] - draws*p) * (count[i] - draws*p) / (draws * p)
	}
	// Mean k-1 and variance 2(k-1) for k classes; six standard deviations.
	if k := float64(len(scaled) - 1); chi > k+6*math.Sqrt(2*k) {
		t.Errorf("chi-squared %.1f over %d tokens", chi, len(scaled))
	}
	if !slices.Equal(first(7), first(7)) {
		t.Error("one seed drew two texts")
	}
}
