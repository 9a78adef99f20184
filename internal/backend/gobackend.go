package backend

import (
	"fmt"
	"reflect"
	"runtime"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
)

// unlimited is the parallelism under which the Go back end has no limit on its
// goroutines.
const unlimited = -1

// openGo opens the pure Go back end without a limit on its workers.
func openGo(chosen string) (compute.Backend, Info, error) {
	b, err := gobackend.New("")
	if err == nil {
		err = setParallelism(b, unlimited)
	}
	if err != nil {
		return nil, Info{}, fmt.Errorf("open back end %s: %w", Go, err)
	}
	return b, Info{
		Name:    Go,
		Chosen:  chosen,
		Devices: []string{fmt.Sprintf("%d threads of %s/%s", runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH)},
		SIMD:    SIMD(),
	}, nil
}

// setParallelism sets the limit of the back end's worker pool. With the
// ordinary limit a graph of 2*GOMAXPROCS independent large products waits for
// ever: each holds a worker while it waits for another. The configuration
// string "parallelism=-1" does the same as this function but prints a line to
// standard output, where our results go; the pool itself is an exported field
// of a type that only reflection can name.
func setParallelism(b compute.Backend, limit int) error {
	const want = "Workers.SetMaxParallelism(int)"
	v := reflect.Indirect(reflect.ValueOf(b))
	if v.Kind() != reflect.Struct || !v.FieldByName("Workers").IsValid() {
		return fmt.Errorf("%T has no %s: the pinned version of gomlx/compute has it", b, want)
	}
	set, ok := v.FieldByName("Workers").Interface().(interface{ SetMaxParallelism(int) })
	if !ok {
		return fmt.Errorf("%T has no %s: the pinned version of gomlx/compute has it", b, want)
	}
	set.SetMaxParallelism(limit)
	return nil
}
