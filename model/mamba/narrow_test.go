package mamba

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
)

// TestDotNarrow: products of bf16, and those of their gradient, are the sums in float64 but
// for the rounding of the result to 8 bits.
func TestDotNarrow(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		exec, err := NewExec(b, func(x, w *Node) []*Node {
			x, w = ConvertDType(x, dtypes.BFloat16), ConvertDType(w, dtypes.BFloat16)
			y := widen(DotNarrow(x, []int{1}, nil, w, []int{1}, nil))
			grads := Gradient(MulScalar(ReduceAllSum(Square(y)), 0.5), x, w) // y·w and y·x
			return []*Node{y, widen(x), widen(w), widen(grads[0]), widen(grads[1])}
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, dims := range [][3]int{{8, 3, 5}, {20, 16, 24}, {40, 64, 72}} {
			rng := rand.New(rand.NewPCG(6, 6))
			n, in, out := dims[0], dims[1], dims[2]
			draw := func(rows int) *tensors.Tensor {
				values := make([]float32, rows*in)
				for i := range values {
					values[i] = float32(rng.NormFloat64())
				}
				return tensors.FromFlatDataAndDimensions(values, rows, in)
			}
			got, err := exec.Call(draw(n), draw(out))
			if err != nil {
				t.Fatal(err)
			}
			flat := func(i int) []float32 { return tensors.MustCopyFlatData[float32](got[i]) }
			y, x, w := flat(0), flat(1), flat(2)
			compare := func(name string, got []float32, rows, columns, sums int, term func(row, column, k int) float64) {
				for i := range rows * columns {
					want, size := 0.0, 0.0
					for k := range sums {
						v := term(i/columns, i%columns, k)
						want, size = want+v, size+math.Abs(v)
					}
					if !(math.Abs(float64(got[i])-want) <= math.Abs(want)/128+size*1e-2) {
						t.Fatalf("%v: %s[%d] is %v, want %v", dims, name, i, got[i], want)
					}
				}
			}
			compare("product", y, n, out, in, func(r, c, k int) float64 { return float64(x[r*in+k]) * float64(w[c*in+k]) })
			compare("gradient of the left", flat(3), n, in, out, func(r, c, k int) float64 { return float64(y[r*out+k]) * float64(w[k*in+c]) })
			compare("gradient of the right", flat(4), out, in, n, func(r, c, k int) float64 { return float64(y[k*out+r]) * float64(x[k*in+c]) })
		}
	})
}
