package swarm

import (
	"fmt"
	"math/rand/v2"

	"github.com/gomlx/compute/dtypes"
)

// memorySource is a Source of tensors in memory, all f32.
type memorySource map[string]memoryTensor

type memoryTensor struct {
	shape  []int
	values []float32
}

func (m memorySource) Info(name string) (dtypes.DType, []int, error) {
	t, ok := m[name]
	if !ok {
		return dtypes.InvalidDType, nil, fmt.Errorf("%w", ErrNoTensor)
	}
	return dtypes.Float32, t.shape, nil
}

func (m memorySource) Read(name string, dst []byte) error {
	copy(dst, bytesOf(m[name].values))
	return nil
}

func (m memorySource) Release([]string) {}

// randomSource draws all tensors of a model.
func randomSource(c Config, seed uint64) memorySource {
	rng := rand.New(rand.NewPCG(seed, 0))
	src := memorySource{}
	for _, spec := range c.Tensors() {
		src[spec.Name] = memoryTensor{spec.Shape, c.Base.Init(spec.Name, spec.Shape, rng)}
	}
	return src
}
