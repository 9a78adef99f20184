// Package testkit holds what the tests of several packages share. Only tests
// import it.
package testkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
)

// CPUDevices is how many devices the back end xla:cpu has in tests, of one processor.
const CPUDevices = 4

// Variables that choose the back ends of a test run.
const (
	// EnvBackend restricts tests to one back end: go, xla:cpu or xla:cuda.
	EnvBackend = "MES_TEST_BACKEND"
	// EnvCUDAPlugin is the plugin file for EnvBackend=xla:cuda.
	EnvCUDAPlugin = "MES_TEST_CUDA_PLUGIN"
	// envCI is "true" on a machine that must run every test.
	envCI = "CI"
)

// Backends runs f as a subtest on each back end: go and xla:cpu, or the one
// that EnvBackend names. Where no XLA plugin is installed it skips xla:cpu,
// except in CI, where that is a failure.
func Backends(t *testing.T, f func(t *testing.T, b compute.Backend)) {
	t.Helper()
	names := []string{backend.Go, backend.XLACPU}
	if only := os.Getenv(EnvBackend); only != "" {
		names = []string{only}
	}
	for _, name := range names {
		t.Run(strings.ReplaceAll(name, ":", "_"), func(t *testing.T) { f(t, Backend(t, name)) })
	}
}

// Backend gives the back end called name, opened once for the process and
// never finalized. It skips or fails the test as Backends does.
func Backend(t testing.TB, name string) compute.Backend {
	t.Helper()
	b, err := open(name)
	switch {
	case err == nil:
		return b
	case errors.Is(err, backend.ErrNoPlugin) && os.Getenv(envCI) != "true":
		t.Skipf("SKIPPED on %s, run scripts/setup.sh to test it: %v", name, err)
	default:
		t.Fatal(err)
	}
	return nil
}

var (
	mu     sync.Mutex
	opened = map[string]compute.Backend{}
)

// open opens the back end called name, or gives the one that is open.
func open(name string) (compute.Backend, error) {
	mu.Lock()
	defer mu.Unlock()
	if b := opened[name]; b != nil {
		return b, nil
	}
	root, err := Root()
	if err != nil {
		return nil, err
	}
	b, _, err := backend.Open(name, backend.Options{
		CUDAPlugin: os.Getenv(EnvCUDAPlugin),
		Dirs:       append([]string{filepath.Join(root, ".deps", "pjrt")}, backend.SearchDirs("")...),
		CPUDevices: CPUDevices,
	})
	if err != nil {
		return nil, err
	}
	opened[name] = b
	return b, nil
}

// Root gives the directory of the repository: the nearest one with a go.mod,
// from the working directory upwards.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the repository: no go.mod in the working directory or above")
		}
		dir = parent
	}
}
