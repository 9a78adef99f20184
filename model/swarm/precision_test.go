package swarm

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/internal/testkit"
)

// lowTolerance bounds |low precision - f32| of all logits, relative to the largest
// one, on models with random weights, whose logits have no margin. bf16 rounds each
// weight by up to 1/512, int8 by up to 1/254 of its row's largest; over the layers
// these add like random numbers. Measured: bf16
// up to 0.005, int8 up to 0.008.
var lowTolerance = map[Precision]float64{BF16: 0.015, Int8: 0.02}

// TestPrecision compares bf16 and int8 with the oracle on weights rounded by hand,
// where they must agree as f32 does, and with f32, where they must stay near.
func TestPrecision(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, kind := range kinds {
			for _, precision := range []Precision{BF16, Int8} {
				t.Run(fmt.Sprint(kind, "/", precision), func(t *testing.T) {
					c := tinySwarm(kind)
					src, ids := lively(c, 60), text(c, 16, 61)
					plan := planOf(t, c, src, ids, "")
					full := newReference(c, src).run(ids, plan)
					want := newReference(c, rounded(c, src, precision)).run(ids, plan)
					m := load(t, b, c, src, Options{Precision: precision})
					got, ran := score(t, m, "", ids)
					samePlan(t, c, ran, plan)
					compareLogits(t, "logits of rounded weights", got, want)
					largest := 0.0
					for _, row := range full {
						largest = max(largest, slices.Max(row), -slices.Min(row))
					}
					near := worst(got, full) / largest
					t.Logf("differs from f32 by %.2g of %.3g", near, largest)
					if !(near <= lowTolerance[precision]) || near < 1e-4 {
						t.Errorf("differs from f32 by %g of the largest logit", near)
					}
					if full, low := c.encoderBytes(F32), c.encoderBytes(precision); low >= full*2/3 {
						t.Errorf("an encoder takes %d bytes, in f32 %d", low, full)
					}
				})
			}
		}
	})
}

// rounded gives the weights that a precision computes with. The head of a tied model
// is the embedding rounded its own way.
func rounded(c Config, src memorySource, p Precision) memorySource {
	out := maps.Clone(src)
	for name, t := range src {
		if !strings.HasSuffix(name, "_proj.weight") && name != "backbone.embeddings.weight" {
			continue
		}
		out[name] = memoryTensor{t.shape, roundBF16(t.values)}
		if p == Int8 && (strings.HasSuffix(name, ".in_proj.weight") || strings.HasSuffix(name, ".out_proj.weight")) {
			out[name] = memoryTensor{t.shape, roundInt8(t.values, t.shape[1])}
		}
	}
	if p == Int8 {
		e := src["backbone.embeddings.weight"]
		out["lm_head.weight"] = memoryTensor{e.shape, roundInt8(e.values, c.Base.DModel)}
	}
	return out
}

// roundBF16 keeps 8 significant bits, ties to even.
func roundBF16(x []float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		fraction, exponent := math.Frexp(float64(v))
		out[i] = float32(math.Ldexp(math.RoundToEven(fraction*256)/256, exponent))
	}
	return out
}

// roundInt8 keeps 127 steps either side of zero, by row.
func roundInt8(x []float32, cols int) []float32 {
	out := make([]float32, 0, len(x))
	for row := range slices.Chunk(x, cols) {
		step := max(slices.Max(row), -slices.Min(row)) / 127
		for _, v := range row {
			out = append(out, step*float32(math.RoundToEven(float64(v/step))))
		}
	}
	return out
}

func TestParsePrecision(t *testing.T) {
	for name, want := range map[string]Precision{"": F32, "f32": F32, "bf16": BF16, "int8": Int8} {
		if p, err := ParsePrecision(name); p != want || err != nil {
			t.Errorf("%q: %q, %v", name, p, err)
		}
	}
	if _, err := ParsePrecision("fp8"); err == nil || !strings.Contains(err.Error(), "f32, bf16 or int8") {
		t.Errorf("fp8: %v", err)
	}
}

func TestQuantizeNotFinite(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
		if _, _, err := Quantize([]float32{1, 2, 3, bad}, 2); err == nil || !strings.Contains(err.Error(), "row 1") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// rawSource is one tensor as a file holds it, and its scales.
type rawSource struct {
	dtype  dtypes.DType
	shape  []int
	raw    []byte
	scales []float32
}

func (s rawSource) Info(name string) (dtypes.DType, []int, error) {
	if strings.HasSuffix(name, "_scale") {
		return dtypes.Float32, []int{len(s.scales), 1}, nil
	}
	return s.dtype, s.shape, nil
}

func (s rawSource) Read(name string, dst []byte) error {
	if strings.HasSuffix(name, "_scale") {
		copy(dst, bytesOf(s.scales))
		return nil
	}
	copy(dst, s.raw)
	return nil
}

func (s rawSource) Release([]string) {}

// TestReadFloats reads bit patterns whose values the formats' definitions give.
func TestReadFloats(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, test := range []struct {
		name string
		src  rawSource
		want []float32
	}{
		{"f32", rawSource{dtype: dtypes.Float32, raw: []byte{0, 0, 0x20, 0xc1, 1, 0, 0, 0}}, []float32{-10, 1.401298464324817e-45}},
		{"f64", rawSource{dtype: dtypes.Float64, raw: []byte{0, 0, 0, 0, 0, 0, 0xf8, 0xbf}}, []float32{-1.5}},
		{"bf16", rawSource{dtype: dtypes.BFloat16, raw: []byte{0x80, 0x3f, 0x20, 0xc1, 0x80, 0x7f}}, []float32{1, -10, inf}},
		{"f16", rawSource{dtype: dtypes.Float16, raw: []byte{0, 0x3c, 0, 0xc9, 0xff, 0x7b, 0, 0x7c, 1, 0, 1, 0x80, 0, 0x04, 0xff, 0x03}},
			[]float32{1, -10, 65504, inf, 1.0 / (1 << 24), -1.0 / (1 << 24), 1.0 / (1 << 14), 1023.0 / (1 << 24)}},
		{"int8", rawSource{dtype: dtypes.Int8, shape: []int{2, 2}, raw: []byte{127, 0x81, 0, 2}, scales: []float32{0.5, 3}}, []float32{63.5, -63.5, 0, 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.src.shape == nil {
				test.src.shape = []int{len(test.want)}
			}
			got, err := ReadFloats(test.src, "w")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := ReadFloats(rawSource{dtype: dtypes.Int8, shape: []int{2, 2}, raw: make([]byte, 4), scales: []float32{1}}, "w"); err == nil || !strings.Contains(err.Error(), "expected 2 scales") {
		t.Errorf("too few scales: %v", err)
	}
	if _, err := ReadFloats(rawSource{dtype: dtypes.Bool, shape: []int{1}, raw: []byte{1}}, "w"); err == nil || !strings.Contains(err.Error(), "not supported") {
		t.Errorf("booleans: %v", err)
	}
}

// TestEncode writes what ReadFloats reads.
func TestEncode(t *testing.T) {
	values := []float32{1, -10, 3.140625, float32(math.Inf(-1)), 1.00390625, 1.01171875}
	for dtype, want := range map[dtypes.DType][]float32{
		dtypes.Float32:  values,
		dtypes.BFloat16: {1, -10, 3.140625, float32(math.Inf(-1)), 1, 1.015625}, // the last two are halfway: to even
	} {
		got, err := ReadFloats(rawSource{dtype: dtype, shape: []int{6}, raw: Encode(values, dtype)}, "w")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", dtype, err, diff)
		}
	}
	if got, err := ReadFloats(rawSource{dtype: dtypes.BFloat16, shape: []int{1}, raw: Encode([]float32{float32(math.NaN())}, dtypes.BFloat16)}, "w"); err != nil || got[0] == got[0] {
		t.Errorf("NaN becomes %v, %v", got, err)
	}
}
