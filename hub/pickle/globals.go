package pickle

// DType names the type of a tensor's elements, spelled as in the safetensors format.
type DType string

// The element types that torch saves.
const (
	Bool       DType = "BOOL"
	U8         DType = "U8"
	I8         DType = "I8"
	F8E5M2     DType = "F8_E5M2"
	F8E4M3     DType = "F8_E4M3"
	F8E8M0     DType = "F8_E8M0"
	F8E4M3FNUZ DType = "F8_E4M3FNUZ"
	F8E5M2FNUZ DType = "F8_E5M2FNUZ"
	I16        DType = "I16"
	U16        DType = "U16"
	F16        DType = "F16"
	BF16       DType = "BF16"
	I32        DType = "I32"
	U32        DType = "U32"
	F32        DType = "F32"
	C64        DType = "C64"
	F64        DType = "F64"
	I64        DType = "I64"
	U64        DType = "U64"
)

// Size returns the bytes of one element, 0 for a name that is none of the above.
func (d DType) Size() int64 {
	switch d {
	case Bool, U8, I8, F8E5M2, F8E4M3, F8E8M0, F8E4M3FNUZ, F8E5M2FNUZ:
		return 1
	case I16, U16, F16, BF16:
		return 2
	case I32, U32, F32:
		return 4
	case C64, F64, I64, U64:
		return 8
	}
	return 0
}

// storageType is a class of storages: of one dtype, or of bytes whose dtype the
// tensor gives (untyped, "").
type storageType DType

// function stands for a name that a pickle may call. It builds a value of ours;
// nothing of Python's is run.
type function func(m *machine, args []any) (any, error)

// globals is everything that a pickle may name, as "module name".
var globals = map[string]any{
	"collections OrderedDict": function(orderedDict),

	"torch._utils _rebuild_tensor_v2": function(rebuildTensorV2),
	"torch._utils _rebuild_tensor_v3": function(rebuildTensorV3),
	"torch._utils _rebuild_parameter": function(rebuildParameter),

	"torch BoolStorage":            storageType(Bool),
	"torch ByteStorage":            storageType(U8),
	"torch CharStorage":            storageType(I8),
	"torch ShortStorage":           storageType(I16),
	"torch HalfStorage":            storageType(F16),
	"torch BFloat16Storage":        storageType(BF16),
	"torch IntStorage":             storageType(I32),
	"torch FloatStorage":           storageType(F32),
	"torch ComplexFloatStorage":    storageType(C64),
	"torch DoubleStorage":          storageType(F64),
	"torch LongStorage":            storageType(I64),
	"torch UntypedStorage":         storageType(""),
	"torch.storage UntypedStorage": storageType(""),

	"torch float8_e5m2":     F8E5M2,
	"torch float8_e4m3fn":   F8E4M3,
	"torch float8_e8m0fnu":  F8E8M0,
	"torch float8_e4m3fnuz": F8E4M3FNUZ,
	"torch float8_e5m2fnuz": F8E5M2FNUZ,
	"torch uint16":          U16,
	"torch uint32":          U32,
	"torch uint64":          U64,
}
