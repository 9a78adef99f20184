package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
)

// Source reads a checkpoint's tensors by name, for example from safetensors
// files. Its methods may be called from several goroutines at once.
type Source interface {
	// Info returns the type and shape of a tensor. The error wraps ErrNoTensor if
	// the checkpoint has no such tensor.
	Info(name string) (dtypes.DType, []int, error)
	// Read copies the tensor's bytes, little endian and row-major, into dst, whose
	// length is the tensor's.
	Read(name string, dst []byte) error
	// Release says that the named tensors will not be read soon: their file may be
	// unmapped.
	Release(names []string)
}

// Fetcher is a Source whose files may lie elsewhere, as those of a hub do. A session
// has the file of an encoder fetched when the router first picks it.
type Fetcher interface {
	Source
	// Fetch brings the files that hold the named tensors. Files that are there cost
	// nothing. It may be called from several goroutines at once, for the same files
	// too, and returns soon after ctx ends.
	Fetch(ctx context.Context, names []string) error
}

// ErrFar is wrapped by the errors of a Fetcher's Info and Read about a tensor whose
// file was not fetched.
var ErrFar = errors.New("the file of the tensor was not fetched yet")

// FetchError is the error about an encoder that a Fetcher could not bring.
type FetchError struct {
	Encoder int
	Domain  string // empty if the model names none
	Err     error
}

// Error names the encoder and says why it is not there.
func (e *FetchError) Error() string {
	name := fmt.Sprintf("encoder %d", e.Encoder)
	if e.Domain != "" {
		name += " (" + e.Domain + ")"
	}
	return fmt.Sprintf("fetch %s: %v", name, e.Err)
}

// Unwrap returns the cause.
func (e *FetchError) Unwrap() error { return e.Err }

// fetch brings encoder e from where the checkpoint lies.
func (m *Model) fetch(ctx context.Context, e int) error {
	src, ok := m.src.(Fetcher)
	if !ok {
		return nil
	}
	var names []string
	for _, spec := range m.cfg.EncoderTensors(e) {
		names = append(names, spec.Name)
	}
	err := src.Fetch(ctx, names)
	if err == nil {
		return nil
	}
	fault := &FetchError{Encoder: e, Err: err}
	if e < len(m.cfg.Router.Domains) {
		fault.Domain = m.cfg.Router.Domains[e]
	}
	return fault
}

// acquire is the pool's, for an encoder that may have to be fetched first.
func (m *Model) acquire(ctx context.Context, e int) (*encoder, error) {
	if err := m.fetch(ctx, e); err != nil {
		return nil, err
	}
	return m.pool.acquire(e)
}

// ErrNoTensor is wrapped by errors about a tensor that a checkpoint lacks.
var ErrNoTensor = errors.New("no such tensor")

// Check compares a checkpoint's core and first encoder, or every encoder if all is
// set, with what the configuration needs. It reports all tensors that are missing
// or have another shape or type, each with what was expected and found. Unless all
// is set, an encoder whose file was not fetched yet is passed over: it is checked when
// it is loaded.
func (c Config) Check(src Source, all bool) error {
	specs := c.CoreTensors()
	if !c.Plain() {
		encoders := 1
		if all {
			encoders = c.Router.NumEncoders
		}
		for e := range encoders {
			specs = append(specs, c.EncoderTensors(e)...)
		}
	}
	var faults []error
	for _, spec := range specs {
		err := checkTensor(src, spec)
		if !all && spec.Encoder != None && errors.Is(err, ErrFar) {
			continue
		}
		if err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// checkTensor compares one tensor's shape and type with what is needed.
func checkTensor(src Source, spec TensorSpec) error {
	dtype, shape, err := src.Info(spec.Name)
	if err != nil {
		return fmt.Errorf("tensor %s %v: %w", spec.Name, spec.Shape, err)
	}
	if !slices.Equal(shape, spec.Shape) {
		return fmt.Errorf("tensor %s: expected shape %v, found %v; config.json does not fit the weights", spec.Name, spec.Shape, shape)
	}
	switch dtype {
	case dtypes.Float32, dtypes.BFloat16, dtypes.Float16, dtypes.Float64:
		return nil
	case dtypes.Int8:
		if _, _, err := src.Info(scaleName(spec.Name)); err != nil {
			return fmt.Errorf("tensor %s: int8 weights need %s: %w", spec.Name, scaleName(spec.Name), err)
		}
		return nil
	}
	return fmt.Errorf("tensor %s: expected a float or int8 type, found %s", spec.Name, dtype)
}

// scaleName returns the tensor that holds the scales of an int8 matrix.
func scaleName(name string) string { return name + "_scale" }
