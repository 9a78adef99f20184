package pickle

import (
	"math"
	"math/bits"
)

// extent is where an entry of the archive lies in the file, in bytes.
type extent struct{ start, size int64 }

// storage is an array of the archive.
type storage struct {
	dtype DType // "" when the tensor gives it
	extent
}

// layout is a tensor's place in a storage; offset and strides count elements.
type layout struct {
	dtype          DType
	storage        extent
	offset         int64
	shape, strides []int64
	elements       int64
}

// storage replaces a persistent id by the storage that it names. The id is
// ("storage", type, key, device, number of elements); the device does not matter.
func (m *machine) storage() error {
	v, err := m.pop(1)
	if err != nil {
		return err
	}
	id, _ := v[0].(tuple)
	if len(id.items) != 5 || id.items[0] != "storage" {
		return fault(ErrCall, "a persistent id that names no storage")
	}
	kind, ok1 := id.items[1].(storageType)
	key, ok2 := id.items[2].(string)
	_, ok3 := id.items[3].(string)
	n, ok4 := id.items[4].(int64)
	if !ok1 || !ok2 || !ok3 || !ok4 || n < 0 {
		return fault(ErrCall, "a persistent id that names no storage")
	}
	entry, ok := m.storages[key]
	if !ok {
		return fault(ErrStorage, "no entry data/%s", key)
	}
	size := int64(1)
	if kind != "" {
		size = DType(kind).Size()
	}
	if n > math.MaxInt64/size || n*size != entry.size {
		return fault(ErrStorage, "data/%s has %d bytes, %d elements of %d bytes are announced", key, entry.size, n, size)
	}
	return m.push(&storage{DType(kind), entry})
}

// orderedDict is collections.OrderedDict without arguments.
func orderedDict(_ *machine, args []any) (any, error) {
	if len(args) != 0 {
		return nil, fault(ErrCall, "OrderedDict")
	}
	return &dict{depth: 1}, nil
}

// rebuildTensorV2 is torch's function: storage, offset, size, stride, requires_grad,
// backward_hooks and perhaps metadata.
func rebuildTensorV2(_ *machine, args []any) (any, error) {
	if len(args) < 6 || len(args) > 7 || len(args) == 7 && !empty(args[6]) {
		return nil, fault(ErrCall, "_rebuild_tensor_v2")
	}
	s, ok := args[0].(*storage)
	if !ok || s.dtype == "" {
		return nil, fault(ErrCall, "_rebuild_tensor_v2 without a storage")
	}
	return newLayout(s.extent, s.dtype, args[1:4])
}

// rebuildTensorV3 is torch's function for dtypes that have no storage of their own:
// the arguments of the second version with the dtype before the metadata.
func rebuildTensorV3(_ *machine, args []any) (any, error) {
	if len(args) < 7 || len(args) > 8 || len(args) == 8 && !empty(args[7]) {
		return nil, fault(ErrCall, "_rebuild_tensor_v3")
	}
	s, ok1 := args[0].(*storage)
	dtype, ok2 := args[6].(DType)
	if !ok1 || !ok2 || s.dtype != "" {
		return nil, fault(ErrCall, "_rebuild_tensor_v3 without a storage or dtype")
	}
	return newLayout(s.extent, dtype, args[1:4])
}

// rebuildParameter is torch's function: data, requires_grad, backward_hooks.
func rebuildParameter(_ *machine, args []any) (any, error) {
	if len(args) != 3 {
		return nil, fault(ErrCall, "_rebuild_parameter")
	}
	l, ok := args[0].(*layout)
	if !ok {
		return nil, fault(ErrCall, "_rebuild_parameter without a tensor")
	}
	return l, nil
}

// empty reports whether a tensor's metadata says nothing; it could say that the
// numbers are to be negated or conjugated.
func empty(metadata any) bool {
	d, ok := metadata.(*dict)
	return metadata == nil || ok && len(d.keys) == 0
}

// newLayout checks that a tensor, given by offset, size and stride, lies in its
// storage and has no more elements than it.
func newLayout(s extent, dtype DType, args []any) (*layout, error) {
	offset, ok := args[0].(int64)
	shape, ok1 := numbers(args[1])
	strides, ok2 := numbers(args[2])
	if !ok || !ok1 || !ok2 || offset < 0 || len(shape) != len(strides) {
		return nil, fault(ErrCall, "a tensor with offset %v, size %v and stride %v", args[0], args[1], args[2])
	}
	l := &layout{dtype: dtype, storage: s, offset: offset, shape: shape, strides: strides, elements: 1}
	capacity := uint64(s.size / dtype.Size())
	count, last := uint64(1), uint64(offset) // last element's place in the storage
	for i, dim := range shape {
		if dim == 0 {
			l.offset, l.elements = 0, 0
			return l, nil
		}
		hi1, n := bits.Mul64(count, uint64(dim))
		hi2, step := bits.Mul64(uint64(dim-1), uint64(strides[i]))
		sum, carry := bits.Add64(last, step, 0)
		if hi1 != 0 || hi2 != 0 || carry != 0 {
			return nil, fault(ErrBounds, "size %v, stride %v", shape, strides)
		}
		count, last = n, sum
	}
	if last >= capacity {
		return nil, fault(ErrBounds, "offset %d, size %v, stride %v in a storage of %d", offset, shape, strides, capacity)
	}
	if count > capacity {
		return nil, fault(ErrExpanded, "size %v in a storage of %d", shape, capacity)
	}
	l.elements = int64(count)
	return l, nil
}

// numbers returns the non-negative numbers of a tuple.
func numbers(v any) ([]int64, bool) {
	t, ok := v.(tuple)
	if !ok {
		return nil, false
	}
	out := make([]int64, len(t.items))
	for i, item := range t.items {
		if out[i], ok = item.(int64); !ok || out[i] < 0 || out[i] > math.MaxInt {
			return nil, false
		}
	}
	return out, true
}

// contiguous reports whether the elements follow each other in the storage, last
// dimension fastest.
func (l *layout) contiguous() bool {
	step := int64(1)
	for i := len(l.shape) - 1; i >= 0; i-- {
		if l.shape[i] != 1 && l.strides[i] != step {
			return false
		}
		step *= l.shape[i]
	}
	return true
}

// span returns the number of elements from the first to the last in the storage.
func (l *layout) span() int64 {
	n := int64(1)
	for i, dim := range l.shape {
		n += (dim - 1) * l.strides[i]
	}
	return n
}

// gather copies the elements, size bytes each, from the span to dst in order.
func (l *layout) gather(dst, span []byte, size int64) {
	if len(l.shape) == 0 {
		copy(dst, span[:size])
		return
	}
	last := len(l.shape) - 1
	index := make([]int64, last) // of the row
	at := int64(0)               // first element of the row in the span
	for len(dst) > 0 {
		for j := range l.shape[last] {
			from := (at + j*l.strides[last]) * size
			copy(dst[:size], span[from:from+size])
			dst = dst[size:]
		}
		for i := last - 1; i >= 0; i-- {
			index[i]++
			at += l.strides[i]
			if index[i] < l.shape[i] {
				break
			}
			at -= index[i] * l.strides[i]
			index[i] = 0
		}
	}
}
