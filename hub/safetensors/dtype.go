package safetensors

import "slices"

// DType names the type of a tensor's elements, spelled as in the header.
type DType string

// The element types of the format. Values are little-endian; F4 and F6 values are
// packed without padding.
const (
	Bool       DType = "BOOL"        // one byte, 0 or 1
	F4         DType = "F4"          // 4-bit float, OCP Microscaling E2M1
	F6E2M3     DType = "F6_E2M3"     // 6-bit float, OCP Microscaling
	F6E3M2     DType = "F6_E3M2"     // 6-bit float, OCP Microscaling
	U8         DType = "U8"          // unsigned byte
	I8         DType = "I8"          // signed byte
	F8E5M2     DType = "F8_E5M2"     // 8-bit float, arXiv:2209.05433
	F8E4M3     DType = "F8_E4M3"     // 8-bit float without infinities, arXiv:2209.05433
	F8E8M0     DType = "F8_E8M0"     // 8-bit power of two, OCP Microscaling scale
	F8E4M3FNUZ DType = "F8_E4M3FNUZ" // 8-bit float, arXiv:2206.02915
	F8E5M2FNUZ DType = "F8_E5M2FNUZ" // 8-bit float, arXiv:2206.02915
	I16        DType = "I16"         // signed, 16 bits
	U16        DType = "U16"         // unsigned, 16 bits
	F16        DType = "F16"         // IEEE half precision
	BF16       DType = "BF16"        // upper half of an F32
	I32        DType = "I32"         // signed, 32 bits
	U32        DType = "U32"         // unsigned, 32 bits
	F32        DType = "F32"         // IEEE single precision
	C64        DType = "C64"         // complex: two F32, real part first
	F64        DType = "F64"         // IEEE double precision
	I64        DType = "I64"         // signed, 64 bits
	U64        DType = "U64"         // unsigned, 64 bits
)

// dtypes lists every type in the reference's order; a file lays its tensors out
// from the last of them to the first, so that wide types come first and stay
// aligned.
var dtypes = []DType{
	Bool, F4, F6E2M3, F6E3M2, U8, I8, F8E5M2, F8E4M3, F8E8M0, F8E4M3FNUZ, F8E5M2FNUZ,
	I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64,
}

// Bits returns the size of one element in bits, 0 for a type that the format does
// not have.
func (d DType) Bits() int {
	switch d {
	case F4:
		return 4
	case F6E2M3, F6E3M2:
		return 6
	case Bool, U8, I8, F8E5M2, F8E4M3, F8E8M0, F8E4M3FNUZ, F8E5M2FNUZ:
		return 8
	case I16, U16, F16, BF16:
		return 16
	case I32, U32, F32:
		return 32
	case C64, F64, I64, U64:
		return 64
	}
	return 0
}

// rank returns d's place in the reference's order, -1 for an unknown type.
func (d DType) rank() int { return slices.Index(dtypes, d) }
