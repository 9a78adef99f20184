package num_test

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/internal/num"
)

var (
	nan = math.NaN()
	inf = math.Inf(1)
)

func ExampleTopK() {
	fmt.Println(num.TopK([]float64{0.2, 0.9, 0.5, 0.9}, 3))
	// Output: [1 3 2]
}

func ExampleLogSumExp() {
	logits := []float64{1, 2, 3}
	fmt.Printf("%.4f\n", logits[2]-num.LogSumExp(logits))
	// Output: -0.4076
}

func ExampleSoftmax() {
	p := make([]float64, 3)
	num.Softmax(p, []float64{0, math.Log(2), math.Inf(-1)})
	fmt.Printf("%.4f\n", p)
	// Output: [0.3333 0.6667 0.0000]
}

func TestTopK(t *testing.T) {
	tests := []struct {
		name string
		x    []float64
		k    int
		want []int
	}{
		{"empty", nil, 3, []int{}},
		{"k zero", []float64{1, 2}, 0, []int{}},
		{"k negative", []float64{1, 2}, -1, []int{}},
		{"k beyond length", []float64{1, 3, 2}, 9, []int{1, 2, 0}},
		{"one", []float64{4, 9, 7}, 1, []int{1}},
		{"all equal: lowest indices", []float64{5, 5, 5, 5, 5}, 3, []int{0, 1, 2}},
		{"tie at the cut", []float64{1, 2, 3, 2, 2}, 2, []int{2, 1}},
		{"signed zeros are equal", []float64{math.Copysign(0, -1), 0}, 1, []int{0}},
		{"NaN last, below -Inf", []float64{nan, -inf, nan, 1}, 4, []int{3, 1, 0, 2}},
		{"NaN only", []float64{nan, nan, nan}, 2, []int{0, 1}},
		{"infinities", []float64{-inf, inf, 0, inf}, 3, []int{1, 3, 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, num.TopK(tt.x, tt.k)); diff != "" {
				t.Errorf("TopK(%v, %d) (-want +got):\n%s", tt.x, tt.k, diff)
			}
		})
	}
}

// sortedTopK is the definition: a stable sort, the first k.
func sortedTopK(x []float32, k int) []int {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	key := func(i int) (int, float32) {
		if x[i] != x[i] {
			return 1, 0
		}
		return 0, -x[i]
	}
	sort.SliceStable(order, func(a, b int) bool {
		an, av := key(order[a])
		bn, bv := key(order[b])
		if an != bn {
			return an < bn
		}
		return av < bv
	})
	return order[:min(k, len(x))]
}

// The values come from few levels, so that ties are frequent.
func TestTopKAgreesWithStableSort(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		x := make([]float32, rng.IntN(60))
		for i := range x {
			x[i] = float32(rng.IntN(12)) - 6
			if rng.IntN(15) == 0 {
				x[i] = float32(nan)
			}
		}
		k := rng.IntN(len(x) + 2)
		before := slices.Clone(x)
		if diff := cmp.Diff(sortedTopK(x, k), num.TopK(x, k)); diff != "" {
			t.Fatalf("TopK(%v, %d) (-want +got):\n%s", x, k, diff)
		}
		if !slices.EqualFunc(x, before, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
			t.Fatalf("TopK changed its input")
		}
	}
}

func TestLogSumExp(t *testing.T) {
	tests := []struct {
		name string
		x    []float64
		want float64
	}{
		{"empty", nil, -inf},
		{"one element is itself", []float64{-3.5}, -3.5},
		{"two equal", []float64{7, 7}, 7 + math.Ln2},
		{"no overflow", []float64{1e4, 1e4, 1e4, 1e4}, 1e4 + 2*math.Ln2},
		{"no underflow", []float64{-1e4, -1e4}, -1e4 + math.Ln2},
		{"-Inf adds nothing", []float64{-inf, 2}, 2},
		{"all -Inf", []float64{-inf, -inf}, -inf},
		{"+Inf", []float64{inf, -inf, 0}, inf},
		{"NaN", []float64{1, nan, inf}, nan},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := num.LogSumExp(tt.x)
			if !same(got, tt.want, 1e-12) {
				t.Errorf("LogSumExp(%v) = %v, want %v", tt.x, got, tt.want)
			}
		})
	}
}

func TestSoftmax(t *testing.T) {
	tests := []struct {
		name    string
		x, want []float64
	}{
		{"empty", nil, nil},
		{"one", []float64{-300}, []float64{1}},
		{"odds 1 to 3", []float64{0, math.Log(3)}, []float64{0.25, 0.75}},
		{"shift invariant, no overflow", []float64{5000, 5000 + math.Log(3)}, []float64{0.25, 0.75}},
		{"-Inf is 0", []float64{-inf, 1, 1}, []float64{0, 0.5, 0.5}},
		{"all -Inf share", []float64{-inf, -inf}, []float64{0.5, 0.5}},
		{"+Inf takes all", []float64{inf, 3, inf, -inf}, []float64{0.5, 0, 0.5, 0}},
		{"NaN spreads", []float64{1, nan, -inf}, []float64{nan, nan, nan}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make([]float64, len(tt.x))
			num.Softmax(got, tt.x)
			for i := range got {
				if !same(got[i], tt.want[i], 1e-12) {
					t.Fatalf("Softmax(%v) = %v, want %v", tt.x, got, tt.want)
				}
			}
		})
	}
}

func same(got, want, tol float64) bool {
	if math.IsNaN(want) || math.IsInf(want, 0) {
		return math.IsNaN(want) == math.IsNaN(got) && (math.IsNaN(want) || got == want)
	}
	return math.Abs(got-want) <= tol
}

// exactSoftmax takes e^x as a rational series with 40 terms, without rounding.
func exactSoftmax(x []float32) []float64 {
	terms := make([]*big.Rat, len(x))
	total := new(big.Rat)
	for i, v := range x {
		r := new(big.Rat).SetFloat64(float64(v))
		term, sum := big.NewRat(1, 1), big.NewRat(1, 1)
		for n := int64(1); n <= 40; n++ {
			term = new(big.Rat).Mul(term, r)
			term.Mul(term, big.NewRat(1, n))
			sum.Add(sum, term)
		}
		terms[i] = sum
		total.Add(total, sum)
	}
	p := make([]float64, len(x))
	for i, s := range terms {
		p[i], _ = new(big.Rat).Quo(s, total).Float64()
	}
	return p
}

func TestSoftmaxAgreesWithExactSeries(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		x := make([]float32, 1+rng.IntN(8))
		for i := range x {
			x[i] = float32(rng.IntN(4096)-2048) / 1024 // in [-2, 2): 40 terms are exact to 1e-30
		}
		want := exactSoftmax(x)
		lse := num.LogSumExp(x)
		for i := range x {
			if got := math.Exp(float64(x[i]) - lse); math.Abs(got-want[i]) > 1e-14 {
				t.Fatalf("exp(x[%d] - LogSumExp(%v)) = %v, want %v", i, x, got, want[i])
			}
		}
		in := slices.Clone(x)
		num.Softmax(x, x) // in place
		for i := range x {
			if math.Abs(float64(x[i])-want[i]) > 1.2e-7 { // two roundings to float32 below 1
				t.Fatalf("Softmax(%v)[%d] = %v, want %v", in, i, x[i], want[i])
			}
		}
	}
}

func BenchmarkTopK(b *testing.B) {
	rng := rand.New(rand.NewPCG(5, 6))
	x := make([]float32, 50288)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	for _, k := range []int{1, 40, len(x)} {
		b.Run(fmt.Sprintf("V=50288/k=%d", k), func(b *testing.B) {
			for b.Loop() {
				num.TopK(x, k)
			}
		})
	}
}
