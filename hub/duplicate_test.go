package hub_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

const miniSwarm = "../weights/mes-mini"

// duplicate writes a larger swarm and opens it.
func duplicate(t *testing.T, p *hub.Pretrained, encoders int, domains []string, noise float64) *hub.Pretrained {
	t.Helper()
	o, err := hub.Duplicate(p, encoders, domains, noise, 1)
	if err != nil {
		t.Fatal(err)
	}
	return save(t, o)
}

func values(t *testing.T, p *hub.Pretrained, name string) []float32 {
	t.Helper()
	out, err := swarm.ReadFloats(p, name)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// apart is the root mean square of a - b relative to that of b.
func apart(a, b []float32) float64 {
	var difference, square float64
	for i, v := range b {
		difference += math.Pow(float64(a[i])-float64(v), 2)
		square += float64(v) * float64(v)
	}
	return math.Sqrt(difference / square)
}

// TestDuplicate: what was there keeps its bytes; copies are of the specialists in turn,
// not of the generalist, and differ by the noise asked for, in int8 too.
func TestDuplicate(t *testing.T) {
	p := open(t, miniSwarm)
	big := duplicate(t, p, 41, nil, 0.05)
	names := big.Config.Swarm.Router.Domains
	if got := []string{names[20], names[38], names[39], names[40]}; !slices.Equal(got, []string{"biology-2", "web-docs-2", "biology-3", "code-c-3"}) {
		t.Errorf("copies are named %v", got)
	}
	for _, spec := range p.Config.Swarm.Tensors() {
		if swarm.PerEncoder(spec.Name) {
			old, all := values(t, p, spec.Name), values(t, big, spec.Name)
			width := len(old) / 20
			if !slices.Equal(all[:len(old)], old) {
				t.Errorf("%s: rows of the first 20 differ", spec.Name)
			}
			for copied, from := range map[int]int{20: 1, 38: 19, 39: 1, 40: 2} {
				noise := apart(all[copied*width:][:width], old[from*width:][:width])
				if wants := spec.Name == swarm.RouterRows; wants != (noise > 0.04 && noise < 0.06) || !wants && noise > 0 {
					t.Errorf("%s: row %d differs from row %d by %.3f", spec.Name, copied, from, noise)
				}
			}
			continue
		}
		wantType, want := raw(t, p, spec.Name)
		gotType, got := raw(t, big, spec.Name)
		if gotType != wantType || !slices.Equal(got, want) {
			t.Errorf("%s: %s and other bytes, had %s", spec.Name, gotType, wantType)
		}
		if spec.Encoder != 1 {
			continue
		}
		for _, copied := range []int{20, 39} {
			name := swarm.Renumbered(spec.Name, 1, copied)
			if kind, _ := raw(t, big, name); kind != wantType {
				t.Errorf("%s is %s, its original %s", name, kind, wantType)
			}
			if noise := apart(values(t, big, name), values(t, p, spec.Name)); noise < 0.04 || noise > 0.06 {
				t.Errorf("%s differs from its original by %.3f", name, noise)
			}
		}
	}
}

// TestDuplicateLogits: where one specialist runs beside the generalist, exact copies
// change nothing.
func TestDuplicateLogits(t *testing.T) {
	p := open(t, miniSwarm)
	big := duplicate(t, p, 25, []string{"a", "b", "c", "d", "e"}, 0)
	ids := make([]int32, 100)
	for i := range ids {
		ids[i] = int32(37*i%8000 + 1)
	}
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		if want, got := logits(t, b, p, swarm.F32, ids), logits(t, b, big, swarm.F32, ids); !slices.Equal(got, want) {
			t.Error("the logits differ")
		}
	})
	if got := big.Config.Swarm.Router.Domains[20:]; !slices.Equal(got, []string{"a", "b", "c", "d", "e"}) {
		t.Errorf("domains %v", got)
	}
}

// TestDuplicateRefuses names what does not fit.
func TestDuplicateRefuses(t *testing.T) {
	p := open(t, miniSwarm)
	for _, c := range []struct {
		encoders int
		domains  []string
		field    string
	}{{20, nil, "num_encoders"}, {22, []string{"one"}, "encoder_domains"}, {1 << 40, nil, "num_encoders"}} {
		_, err := hub.Duplicate(p, c.encoders, c.domains, 0.01, 1)
		var fault *config.FaultError
		if !errors.As(err, &fault) || fault.Faults[0].Field != c.field {
			t.Errorf("%d encoders, domains %v: %v, want a fault of %s", c.encoders, c.domains, err, c.field)
		}
	}
}
