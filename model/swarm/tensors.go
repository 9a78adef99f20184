package swarm

import (
	"fmt"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// tensorMap holds device buffers and their shapes by name.
type tensorMap struct {
	buffers map[string]compute.Buffer
	shapes  map[string]shapes.Shape
	bytes   int64
}

func newTensorMap() *tensorMap {
	return &tensorMap{buffers: map[string]compute.Buffer{}, shapes: map[string]shapes.Shape{}}
}

func (m *tensorMap) add(name string, b compute.Buffer, shape shapes.Shape) {
	m.buffers[name], m.shapes[name] = b, shape
	m.bytes += shape.ByteSize()
}

func (m *tensorMap) shape(name string) (shapes.Shape, bool) {
	s, ok := m.shapes[name]
	return s, ok
}

func (m *tensorMap) finalize() {
	for _, b := range m.buffers {
		finalize(b)
	}
	m.buffers = map[string]compute.Buffer{}
}

// load reads tensor spec from src, converts it to the precision's type, uploads it
// and adds it under the name as (with its scales beside it if it is int8).
func (m *tensorMap) load(b compute.Backend, src Source, spec TensorSpec, as string, p Precision) error {
	if err := checkTensor(src, spec); err != nil {
		return err
	}
	want := p.Stored(as)
	have, _, err := src.Info(spec.Name)
	if err != nil {
		return err
	}
	shape := shapes.Make(want, spec.Shape...)
	if have == want && want != dtypes.Int8 {
		buffer, err := upload(b, shape, func(dst []byte) error { return src.Read(spec.Name, dst) })
		if err != nil {
			return fmt.Errorf("load tensor %s: %w", spec.Name, err)
		}
		m.add(as, buffer, shape)
		return nil
	}
	if want == dtypes.Int8 {
		return m.loadInt8(b, src, spec, as)
	}
	values, err := ReadFloats(src, spec.Name)
	if err != nil {
		return err
	}
	buffer, err := upload(b, shape, func(dst []byte) error {
		encodeInto(dst, values, want)
		return nil
	})
	if err != nil {
		return fmt.Errorf("load tensor %s: %w", spec.Name, err)
	}
	m.add(as, buffer, shape)
	return nil
}

// loadInt8 loads a matrix as int8 rows and their scales [rows, 1]: as they are
// where the file holds them, else quantised now.
func (m *tensorMap) loadInt8(b compute.Backend, src Source, spec TensorSpec, as string) error {
	rows := spec.Shape[0]
	var q []int8
	var scales []float32
	have, _, err := src.Info(spec.Name)
	if err != nil {
		return err
	}
	if have == dtypes.Int8 {
		q = make([]int8, spec.Elements())
		if err := src.Read(spec.Name, bytesOf(q)); err != nil {
			return fmt.Errorf("read tensor %s: %w", spec.Name, err)
		}
		if scales, err = ReadFloats(src, scaleName(spec.Name)); err != nil {
			return err
		}
		if len(scales) != rows {
			return fmt.Errorf("tensor %s: expected %d scales, one per row, found %d", scaleName(spec.Name), rows, len(scales))
		}
	} else {
		values, err := ReadFloats(src, spec.Name)
		if err != nil {
			return err
		}
		if q, scales, err = Quantize(values, rows); err != nil {
			return fmt.Errorf("quantise tensor %s: %w", spec.Name, err)
		}
	}
	for _, t := range []struct {
		name  string
		shape shapes.Shape
		data  []byte
	}{
		{as, shapes.Make(dtypes.Int8, spec.Shape...), bytesOf(q)},
		{scaleName(as), shapes.Make(dtypes.Float32, rows, 1), bytesOf(scales)},
	} {
		buffer, err := upload(b, t.shape, func(dst []byte) error { copy(dst, t.data); return nil })
		if err != nil {
			return fmt.Errorf("load tensor %s: %w", t.name, err)
		}
		m.add(t.name, buffer, t.shape)
	}
	return nil
}

// upload makes a buffer on the device and lets fill write its bytes: in place
// where host and device share memory, else through a copy.
func upload(b compute.Backend, shape shapes.Shape, fill func(dst []byte) error) (compute.Buffer, error) {
	if b.HasSharedBuffers() {
		buffer, flat, err := b.NewSharedBuffer(0, shape)
		if err != nil {
			return nil, err
		}
		if err := fill(dtypes.UnsafeByteSliceFromAny(flat)); err != nil {
			finalize(buffer)
			return nil, err
		}
		return buffer, nil
	}
	flat := dtypes.MakeAnySlice(shape.DType, shape.Size())
	if err := fill(dtypes.UnsafeByteSliceFromAny(flat)); err != nil {
		return nil, err
	}
	return b.BufferFromFlatData(0, flat, shape)
}

// bytesOf views a slice of numbers as its bytes in memory.
func bytesOf[T int8 | int32 | float32](s []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(*new(T))))
}
