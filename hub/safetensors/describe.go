package safetensors

import (
	"io"
	"maps"
)

// Description is what a header tells of a tensor.
type Description struct {
	Name     string `json:"name"`
	DType    DType  `json:"dtype"`
	Shape    []int  `json:"shape"`
	NumBytes int64  `json:"bytes"`
}

// Describe reads and checks the header of a file of size bytes, in the order of the
// data, and its metadata. Only the header need be there: for a file elsewhere src
// may end behind it, see HeaderBytes.
func Describe(src io.ReaderAt, size int64) ([]Description, map[string]string, error) {
	h, err := readHeader(src, size)
	if err != nil {
		return nil, nil, err
	}
	list := make([]Description, 0, len(h.entries))
	for _, e := range h.entries {
		list = append(list, Description{Name: e.name, DType: e.dtype, Shape: ints(e.shape), NumBytes: int64(e.end - e.begin)})
	}
	return list, maps.Clone(h.metadata), nil
}
