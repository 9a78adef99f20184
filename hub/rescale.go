package hub

import (
	"math"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// rescaled is a store whose out_proj matrices are divided by the root of the number
// of layers, in f32. transformers 5 does so to every checkpoint whose config.json
// sets rescale_prenorm_residual (PreTrainedModel's _init_weights, which it also runs
// on loaded weights).
type rescaled struct {
	store
	divisor float32
}

// rescale wraps a store if the configuration asks for it.
func rescale(s store, c *config.Config) store {
	if !c.RescaleResidual {
		return s
	}
	return rescaled{s, float32(math.Sqrt(float64(c.Swarm.Base.NLayer)))}
}

func (r rescaled) lookup(name string) (stored, error) {
	t, err := r.store.lookup(name)
	// Of an int8 matrix the scales are divided.
	isMatrix := strings.HasSuffix(name, "out_proj.weight") && t.dtype != safetensors.I8
	if err != nil || !isMatrix && !strings.HasSuffix(name, "out_proj.weight_scale") {
		return t, err
	}
	dtype, _, err := t.info()
	if err != nil {
		return t, err
	}
	file := t
	t.dtype, t.bytes = safetensors.F32, file.bytes/int64(dtype.Size())*4
	t.read = func(dst []byte) error {
		raw := make([]byte, file.bytes)
		if err := file.read(raw); err != nil {
			return err
		}
		values, err := swarm.DecodeFloats(raw, dtype)
		if err != nil {
			return err
		}
		for i := range values {
			values[i] /= r.divisor
		}
		copy(dst, swarm.Encode(values, dtypes.Float32))
		return nil
	}
	return t, nil
}
