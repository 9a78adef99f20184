//go:build cgo && !noxla && linux

package backend_test

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// TestLargeBuffersAreGivenBack: what large buffers held is the system's again once they
// are freed, whatever small ones were made between them and stay.
func TestLargeBuffersAreGivenBack(t *testing.T) {
	b := testkit.Backend(t, backend.XLACPU)
	filled := func(n int) compute.Buffer {
		buffer, flat, err := b.NewSharedBuffer(0, shapes.Make(dtypes.Float32, n))
		if err != nil {
			t.Fatal(err)
		}
		values := flat.([]float32)
		for i := range values {
			values[i] = 1
		}
		return buffer
	}
	free := func(buffers ...compute.Buffer) {
		for _, buffer := range buffers {
			if err := buffer.Finalize(); err != nil {
				t.Error(err)
			}
		}
	}
	const large, count = 12 << 20, 16
	free(filled(large / 4)) // from here on glibc's own choice would be to keep this size
	before := telemetry.ResidentBytes()
	var big, small []compute.Buffer
	for range count {
		big, small = append(big, filled(large/4)), append(small, filled(16<<10))
	}
	defer free(small...)
	free(big...)
	if grown := telemetry.ResidentBytes() - before; grown > count*large/2 {
		t.Errorf("%d MB of %d MB are still resident", grown>>20, count*large>>20)
	}
}
