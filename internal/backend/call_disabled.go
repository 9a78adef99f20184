//go:build !cgo || noxla

package backend

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// HasKernels reports whether Call works for graphs of b.
func HasKernels(compute.Backend) bool { return false }

// Call panics: this build has no kernels.
func Call(target string, _ []shapes.Shape, _ ...*graph.Node) []*graph.Node {
	panic(fmt.Errorf("call kernel %s: %s", target, xlaMissing))
}
