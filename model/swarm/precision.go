package swarm

import (
	"fmt"
	"math"
	"strings"
	"unsafe"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
)

// Precision is the type in which the weight matrices are held in memory.
// Everything is computed in f32; norms, convolutions and state space parameters
// are always f32.
type Precision string

// The precisions.
const (
	F32  Precision = "f32"
	BF16 Precision = "bf16" // 2 bytes a weight
	// Int8 holds in_proj, out_proj and the head as int8 with one symmetric scale per
	// output row, the other matrices as bf16.
	Int8 Precision = "int8"
)

// ParsePrecision reads the name of a precision; the empty name is F32.
func ParsePrecision(name string) (Precision, error) {
	switch p := Precision(name); p {
	case "":
		return F32, nil
	case F32, BF16, Int8:
		return p, nil
	}
	return "", fmt.Errorf("unknown precision %q; choose f32, bf16 or int8", name)
}

// Stored returns the type that holds the named tensor in memory at this precision.
func (p Precision) Stored(name string) dtypes.DType {
	if p == F32 || !strings.HasSuffix(name, ".weight") {
		return dtypes.Float32
	}
	for _, matrix := range []string{"in_proj.weight", "out_proj.weight", "lm_head.weight"} {
		if strings.HasSuffix(name, matrix) {
			if p == Int8 {
				return dtypes.Int8
			}
			return dtypes.BFloat16
		}
	}
	for _, matrix := range []string{"x_proj.weight", "dt_proj.weight", "backbone.embeddings.weight"} {
		if strings.HasSuffix(name, matrix) {
			return dtypes.BFloat16
		}
	}
	return dtypes.Float32
}

// Quantize rounds rows of a matrix [rows, cols] to int8 with one scale per row:
// scale = max|row| / 127, q = round(w / scale). A row of zeros has scale 1.
// It fails on a value that is not finite.
func Quantize(values []float32, rows int) (q []int8, scales []float32, err error) {
	q, scales = make([]int8, len(values)), make([]float32, rows)
	cols := len(values) / rows
	for r := range rows {
		row := values[r*cols : (r+1)*cols]
		var top float32
		for _, v := range row {
			if v != v || math.IsInf(float64(v), 0) {
				return nil, nil, fmt.Errorf("row %d holds %v: int8 needs finite weights", r, v)
			}
			top = max(top, v, -v)
		}
		scales[r] = top / 127
		if top == 0 {
			scales[r] = 1
		}
		for i, v := range row {
			q[r*cols+i] = int8(math.RoundToEven(float64(v / scales[r])))
		}
	}
	return q, scales, nil
}

// ReadFloats reads a tensor as f32 whatever its type in the file, int8 with its
// scales included.
func ReadFloats(src Source, name string) ([]float32, error) {
	dtype, shape, err := src.Info(name)
	if err != nil {
		return nil, fmt.Errorf("tensor %s: %w", name, err)
	}
	n := elements(shape)
	raw := make([]byte, n*dtype.Size())
	if err := src.Read(name, raw); err != nil {
		return nil, fmt.Errorf("read tensor %s: %w", name, err)
	}
	if dtype != dtypes.Int8 {
		return DecodeFloats(raw, dtype)
	}
	out := make([]float32, n)
	scales, err := ReadFloats(src, scaleName(name))
	if err != nil {
		return nil, err
	}
	if len(scales) != shape[0] {
		return nil, fmt.Errorf("tensor %s: expected %d scales, one per row, found %d", scaleName(name), shape[0], len(scales))
	}
	cols := n / shape[0]
	for i := range out {
		out[i] = float32(int8(raw[i])) * scales[i/cols]
	}
	return out, nil
}

// DecodeFloats widens little-endian values of a float type to f32.
func DecodeFloats(raw []byte, dtype dtypes.DType) ([]float32, error) {
	dst := make([]float32, len(raw)/dtype.Size())
	switch dtype {
	case dtypes.Float32:
		copy(bytesOf(dst), raw)
	case dtypes.BFloat16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(raw[2*i])<<16 | uint32(raw[2*i+1])<<24)
		}
	case dtypes.Float16:
		for i := range dst {
			dst[i] = halfToFloat(uint16(raw[2*i]) | uint16(raw[2*i+1])<<8)
		}
	case dtypes.Float64:
		for i := range dst {
			var bits uint64
			for j := range 8 {
				bits |= uint64(raw[8*i+j]) << (8 * j)
			}
			dst[i] = float32(math.Float64frombits(bits))
		}
	default:
		return nil, fmt.Errorf("values of type %s are not supported", dtype)
	}
	return dst, nil
}

// halfToFloat widens an IEEE 754 half-precision value.
func halfToFloat(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch {
	case exp == 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	case exp == 0:
		v := float32(frac) / (1 << 24)
		if sign != 0 {
			v = -v
		}
		return v
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// toBF16 rounds f32 values to bfloat16, ties to even.
func toBF16(dst []bfloat16.BFloat16, src []float32) {
	for i, v := range src {
		bits := math.Float32bits(v)
		if v != v {
			dst[i] = bfloat16.FromBits(uint16(bits>>16) | 0x40)
			continue
		}
		dst[i] = bfloat16.FromBits(uint16((bits + 0x7fff + bits>>16&1) >> 16))
	}
}

// Encode returns values as the little-endian bytes of a type: Float32 or BFloat16.
func Encode(values []float32, dtype dtypes.DType) []byte {
	out := make([]byte, len(values)*dtype.Size())
	encodeInto(out, values, dtype)
	return out
}

// encodeInto is Encode into bytes that are there, as many as the values need.
func encodeInto(dst []byte, values []float32, dtype dtypes.DType) {
	if dtype == dtypes.BFloat16 {
		toBF16(unsafe.Slice((*bfloat16.BFloat16)(unsafe.Pointer(unsafe.SliceData(dst))), len(values)), values)
		return
	}
	copy(dst, bytesOf(values))
}

// elements returns the product of a shape's sizes.
func elements(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}
