package backend_test

import (
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
)

// TestHasKernels: the pinned plugin takes our kernels and the go back end has none.
// An upgrade of go-xla or of the plugin that breaks the way to them fails here.
func TestHasKernels(t *testing.T) {
	b := testkit.Backend(t, backend.XLACPU)
	if !backend.HasKernels(b) {
		_, info, err := backend.Open(backend.XLACPU, backend.Options{Plugin: plugin(t)})
		t.Errorf("xla:cpu has no kernels: %s (%v)", info.Kernels, err)
	}
	if backend.HasKernels(testkit.Backend(t, backend.Go)) {
		t.Error("the go back end has kernels")
	}
}
