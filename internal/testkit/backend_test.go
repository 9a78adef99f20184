package testkit_test

import (
	"os"
	"testing"

	"github.com/gomlx/compute"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
)

func TestBackends(t *testing.T) {
	t.Setenv(testkit.EnvBackend, "")
	var seen []string
	testkit.Backends(t, func(t *testing.T, b compute.Backend) { seen = append(seen, b.Name()) })
	if len(seen) == 0 || len(seen) < 2 && os.Getenv("CI") == "true" {
		t.Errorf("ran on %q, want the go back end and xla", seen)
	}
}

func TestBackendsRestricted(t *testing.T) {
	t.Setenv(testkit.EnvBackend, backend.Go)
	runs := 0
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		runs++
		if b != testkit.Backend(t, backend.Go) {
			t.Error("a second call opened a second back end")
		}
	})
	if runs != 1 {
		t.Errorf("ran %d times, want once", runs)
	}
}
