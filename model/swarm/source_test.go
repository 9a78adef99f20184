package swarm

import (
	"errors"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// typedSource gives one tensor another type.
type typedSource struct {
	memorySource
	name  string
	dtype dtypes.DType
}

func (s typedSource) Info(name string) (dtypes.DType, []int, error) {
	dtype, shape, err := s.memorySource.Info(name)
	if name == s.name {
		dtype = s.dtype
	}
	return dtype, shape, err
}

// TestLoadFaults: each error names the tensor, what was expected and what was found.
func TestLoadFaults(t *testing.T) {
	const inProj, encoder = "backbone.layers.1.mixer.in_proj.weight", "backbone.encoders.0.layers.0.norm.weight"
	c := tinySwarm(mamba.Mamba1)
	for _, test := range []struct {
		name   string
		damage func(memorySource) Source
		want   []string
		is     error
	}{
		{"missing", func(s memorySource) Source { delete(s, inProj); return s }, []string{inProj, "[32 8]"}, ErrNoTensor},
		{"missing encoder", func(s memorySource) Source { delete(s, encoder); return s }, []string{encoder, "[8]"}, ErrNoTensor},
		{"shape", func(s memorySource) Source {
			s[inProj] = memoryTensor{[]int{8, 32}, s[inProj].values}
			return s
		}, []string{inProj, "expected shape [32 8], found [8 32]"}, nil},
		{"type", func(s memorySource) Source { return typedSource{s, inProj, dtypes.Int32} }, []string{inProj, "expected a float or int8 type, found Int32"}, nil},
		{"int8 without scales", func(s memorySource) Source { return typedSource{s, inProj, dtypes.Int8} }, []string{inProj, inProj + "_scale"}, ErrNoTensor},
		{"several", func(s memorySource) Source {
			delete(s, inProj)
			delete(s, encoder)
			return s
		}, []string{inProj, encoder}, ErrNoTensor},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := Load(testkit.Backend(t, backend.Go), c, test.damage(lively(c, 50)), Options{})
			if err == nil {
				m.Close()
				t.Fatal("no error")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q lacks %q", err, part)
				}
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %q is not %q", err, test.is)
			}
		})
	}
}

// TestCheckAll finds a fault in an encoder that loading does not look at.
func TestCheckAll(t *testing.T) {
	const name = "backbone.encoders.3.layers.0.norm.weight"
	c := tinySwarm(mamba.Mamba1)
	src := lively(c, 51)
	delete(src, name)
	if err := c.Check(src, false); err != nil {
		t.Errorf("core and first encoder: %v", err)
	}
	if err := c.Check(src, true); !errors.Is(err, ErrNoTensor) || !strings.Contains(err.Error(), name) {
		t.Errorf("all encoders: %v", err)
	}
}

// TestRouterFault: damaged router tables are found at loading.
func TestRouterFault(t *testing.T) {
	c := tinySwarm(mamba.Mamba1)
	src := lively(c, 52)
	src["backbone.router.proj.weight"].values[3] /= 0 * src["backbone.router.proj.weight"].values[3]
	_, err := Load(testkit.Backend(t, backend.Go), c, src, Options{})
	if err == nil || !strings.Contains(err.Error(), "router.proj.weight") {
		t.Errorf("error %v", err)
	}
}
