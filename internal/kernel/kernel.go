// Package kernel holds what XLA's CPU programs compute too slowly, in C with the
// vector instructions of the processor: XLA calls it as typed custom calls. The
// graph code that makes these calls is internal/backend.Call; model/mamba uses it.
//
// compute.h says what each kernel computes, body.h and layer_body.h how, for one
// width of vectors; the compute_*.c files build it for several sets of instructions,
// and ffi.c, layers.c and call.c give it to XLA.
package kernel

// Targets of the calls; compute.h, ffi.c and layers.c say what they take and give.
const (
	Scan1   = "mes.scan1"   // h, delta, dx, A, B, C → y, last h
	Scan2   = "mes.scan2"   // h, dA, dx, B, C → y, last h
	Product = "mes.product" // x, int8 w, scale → x·(w·scale)ᵀ
	Conv    = "mes.conv"    // x, first column, mask, state, w, bias → silu(conv(x))
	// Layers1 is layers of Mamba-1 for one token: x, {eps, mixer eps or -1}, then of each layer norm, state, conv w, conv bias,
	// dt bias, A_log, D, h, in_proj, x_proj, dt_proj and out_proj, int8 weights with their scales behind → x, then states and h
	Layers1 = "mes.layers1"
	// Layers2 is the same for Mamba-2: x, {eps, least and largest delta, channels of a norm or 0, whether the norm comes before the gate}, then of
	// each layer norm, state, conv w, conv bias, dt bias, A_log, D, h, the mixer's norm, in_proj and out_proj, with scales as above → the same
	Layers2 = "mes.layers2"
)

// Limits of the kernels, as in compute.h.
const (
	MaxStates  = 256   // N of a scan
	MaxHead    = 16384 // P·N of Scan2, P rounded up to 16 and N to 4
	MaxVectors = 4     // rows of x of Product
	MaxTaps    = 8     // K of Conv
)
