//go:build !cgo || noxla

package backend

import (
	"fmt"

	"github.com/gomlx/compute"
)

// xlaBuilt says whether this build can load PJRT plugins.
const xlaBuilt = false

// xlaMissing says how to get a build that can.
const xlaMissing = "built without XLA, build with CGO_ENABLED=1 and without the tag noxla"

// openXLA is openXLA of a build that cannot load plugins.
func openXLA(name, _, _ string, _ Options) (compute.Backend, Info, error) {
	return nil, Info{}, fmt.Errorf("open back end %s: %w: %s", name, ErrNoPlugin, xlaMissing)
}
