//go:build !goexperiment.simd || !amd64

package backend

// SIMD names the vector instructions that the Go code of this build uses on
// this machine: "avx512", "avx2", or "none" with the reason.
func SIMD() string {
	return "none (built without GOEXPERIMENT=simd, or not for amd64)"
}
