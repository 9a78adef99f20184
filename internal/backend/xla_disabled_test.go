//go:build !cgo || noxla

package backend_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
)

// TestBuiltWithoutXLA: the error says how to build a program that has XLA.
func TestBuiltWithoutXLA(t *testing.T) {
	for name, opts := range map[string]backend.Options{
		backend.XLACPU:  {Plugin: "plugin.so"},
		backend.XLACUDA: {CUDAPlugin: "plugin.so"},
	} {
		_, _, err := backend.Open(name, opts)
		if !errors.Is(err, backend.ErrNoPlugin) || !strings.Contains(err.Error(), "noxla") {
			t.Errorf("Open(%s) = %v, want ErrNoPlugin and the build tag", name, err)
		}
	}
}
