//go:build goexperiment.simd && amd64

package backend

import "simd/archsimd"

// SIMD names the vector instructions that the Go code of this build uses on
// this machine: "avx512", "avx2", or "none" with the reason.
func SIMD() string {
	switch {
	case archsimd.X86.AVX512():
		return "avx512"
	case archsimd.X86.AVX2():
		return "avx2"
	}
	return "none (the processor has no AVX2)"
}
