package hub_test

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/hub"
	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
	"github.com/mamba-encoder-swarm/mes/internal/testkit"
	"github.com/mamba-encoder-swarm/mes/model/config"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// TestConvertTypes: which type each tensor has on disk, and that the configuration
// says so.
func TestConvertTypes(t *testing.T) {
	for precision, want := range map[swarm.Precision]struct {
		matrix, small, embedding, norm string // in_proj and out_proj; x_proj and dt_proj
		dtype                          string
		ignore                         []string
	}{
		"":         {"Float32", "Float32", "Float32", "Float32", "float32", nil},
		swarm.F32:  {"Float32", "Float32", "Float32", "Float32", "float32", nil},
		swarm.BF16: {"BFloat16", "BFloat16", "BFloat16", "Float32", "bfloat16", nil},
		swarm.Int8: {"Int8", "BFloat16", "BFloat16", "Float32", "float32", []string{"lm_head", `re:.*\.x_proj$`, `re:.*\.dt_proj$`}},
	} {
		t.Run(string(precision), func(t *testing.T) {
			p := convert(t, fixture("mamba1-bias"), precision)
			layer := "backbone.layers.1.mixer."
			for name, want := range map[string]string{
				layer + "in_proj.weight": want.matrix, layer + "out_proj.weight": want.matrix,
				layer + "x_proj.weight": want.small, layer + "dt_proj.weight": want.small,
				"backbone.embeddings.weight": want.embedding, "lm_head.weight": want.embedding,
				"backbone.norm_f.weight": want.norm, layer + "A_log": want.norm, layer + "conv1d.weight": want.norm,
				layer + "in_proj.bias": want.norm,
			} {
				if got, _ := raw(t, p, name); got != want {
					t.Errorf("%s is %s, want %s", name, got, want)
				}
			}
			if p.Config.DType != want.dtype {
				t.Errorf("torch_dtype %q, want %q", p.Config.DType, want.dtype)
			}
			var ignore []string
			if p.Config.Quantization != nil {
				ignore = p.Config.Quantization.Ignore
			}
			if diff := cmp.Diff(want.ignore, ignore); diff != "" {
				t.Errorf("ignored modules (-want +got):\n%s", diff)
			}
			if len(p.Surplus()) > 0 {
				t.Errorf("surplus tensors %v", p.Surplus())
			}
		})
	}
}

// TestConvertSwarmInt8: router and aggregator stay f32 and are named as not quantised.
func TestConvertSwarmInt8(t *testing.T) {
	grown := grow(t, fixture("mamba2"), 2, 1, 1)
	p := convert(t, grown.Dir, swarm.Int8)
	for name, want := range map[string]string{
		swarm.LayerTensor(1, 0, "mixer.in_proj.weight"): "Int8", "backbone.router.proj.weight": "Float32",
		"backbone.router.embeddings.weight": "Float32", "backbone.aggregator.q.weight": "Float32",
	} {
		if got, _ := raw(t, p, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if diff := cmp.Diff([]string{`re:.*\.router\..*`, `re:.*\.aggregator\..*`}, p.Config.Quantization.Ignore[3:]); diff != "" {
		t.Errorf("ignored modules (-want +got):\n%s", diff)
	}
	if got, want := len(entries(t, p.Dir)), len(entries(t, grown.Dir)); got != want {
		t.Errorf("%d files, want %d", got, want)
	}
}

// TestConvertInt8Reference: scales and rows are those of compressed-tensors, which
// quantised the fixture from f32 weights that it widens to. Quantising these again
// gives the same.
func TestConvertInt8Reference(t *testing.T) {
	for _, name := range []string{"mamba1-int8", "mamba2-int8"} {
		reference := open(t, fixture(name))
		widened := convert(t, fixture(name), swarm.F32)
		if widened.Config.Quantization != nil {
			t.Error("f32 weights are said to be quantised")
		}
		p := convert(t, widened.Dir, swarm.Int8)
		for l := range p.Config.Swarm.Base.NLayer {
			for _, matrix := range []string{"in_proj.weight", "out_proj.weight"} {
				matrix = swarm.LayerTensor(swarm.None, l, "mixer."+matrix)
				_, want := raw(t, reference, matrix)
				_, got := raw(t, p, matrix)
				if string(got) != string(want) {
					t.Errorf("%s: %s: rows differ", name, matrix)
				}
				_, want = raw(t, reference, matrix+"_scale")
				_, got = raw(t, p, matrix+"_scale")
				wantScales := floats(t, want)
				for i, scale := range floats(t, got) {
					if math.Abs(float64(scale/wantScales[i]-1)) > 1e-6 {
						t.Errorf("%s: %s: scale %d is %g, want %g", name, matrix, i, scale, wantScales[i])
					}
				}
			}
		}
	}
}

// TestConvertKeepsBytes: without a precision, and from one to the same, no byte of a
// tensor changes.
func TestConvertKeepsBytes(t *testing.T) {
	for _, name := range []string{"mamba1", "mamba1-int8", "mamba2-int8", "falcon"} {
		sameTensors(t, convert(t, fixture(name), ""), open(t, fixture(name)))
	}
	for _, precision := range []swarm.Precision{swarm.F32, swarm.BF16, swarm.Int8} {
		once := convert(t, fixture("mamba1"), precision)
		sameTensors(t, convert(t, once.Dir, precision), once)
	}
}

// TestConvertOriginal: a checkpoint in the layout of state-spaces/mamba, whose
// expected logits come from the original's arithmetic, converted from safetensors
// and from PyTorch weights.
func TestConvertOriginal(t *testing.T) {
	testkit.Backends(t, func(t *testing.T, b compute.Backend) {
		for _, name := range []string{"original-mamba1", "original-mamba2"} {
			pytorch := copyFolder(t, fixture(name), "config.json", "pytorch_model.bin")
			for _, dir := range []string{fixture(name), pytorch} {
				p := convert(t, dir, "")
				if p.Config.Original || p.Config.DType != "float32" {
					t.Errorf("%s: original layout %v, torch_dtype %q", dir, p.Config.Original, p.Config.DType)
				}
				ids, want := expected(t, fixture(name))
				got := logits(t, b, p, swarm.F32, ids)
				for i := range got {
					if d := math.Abs(float64(got[i] - want[i])); !(d <= 1e-4) {
						t.Fatalf("%s: logit %d is %g, want %g", dir, i, got[i], want[i])
					}
				}
			}
		}
	})
}

// expected returns the first text of a fixture's run of 17 tokens and its logits.
func expected(t *testing.T, dir string) ([]int32, []float32) {
	t.Helper()
	f, err := safetensors.Open(filepath.Join(dir, "expected-t17.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func(name string) ([]byte, []int) {
		tensor, ok := f.Tensor(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		data, err := tensor.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return data, tensor.Shape
	}
	data, shape := read("input_ids")
	ids := make([]int32, shape[1])
	for i := range ids {
		ids[i] = int32(data[8*i])
	}
	data, shape = read("logits")
	return ids, floats(t, data)[:shape[1]*shape[2]]
}

// logits computes [len(ids)·V] logits.
func logits(t *testing.T, b compute.Backend, p *hub.Pretrained, precision swarm.Precision, ids []int32) []float32 {
	t.Helper()
	m, err := swarm.Load(b, p.Config.Swarm, p, swarm.Options{Precision: precision})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s, err := m.NewSession("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all []float32
	_, err = s.Score(t.Context(), ids, func(_ int, piece []float32) error {
		all = append(all, piece...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestConvertOriginalUnknown: what transformers cannot compute is refused.
func TestConvertOriginalUnknown(t *testing.T) {
	_, err := hub.Convert(open(t, fixture("original-mamba2-no-norm")), "")
	if !errors.As(err, new(*config.FaultError)) || !strings.Contains(err.Error(), "rms_norm") {
		t.Errorf("error %v", err)
	}
}

// TestConvertNaN: a matrix with a NaN cannot be int8, and the error says which row.
func TestConvertNaN(t *testing.T) {
	dir := copyFolder(t, fixture("mamba1"))
	editTensors(t, filepath.Join(dir, safetensors.ModelFile), func(tensors map[string]*edited) {
		m := tensors["backbone.layers.1.mixer.out_proj.weight"]
		copy(m.data[4*(2*m.shape[1]+3):], []byte{0, 0, 0xc0, 0x7f})
	})
	o, err := hub.Convert(open(t, dir), swarm.Int8)
	if err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	o.Dir = filepath.Join(parent, "out")
	err = hub.SavePretrained(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "backbone.layers.1.mixer.out_proj.weight: row 2 holds NaN") {
		t.Errorf("error %v", err)
	}
	if left := entries(t, parent); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func ExampleConvert() {
	p, err := hub.FromCheckpoint("../weights/mamba2-mini")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	o, err := hub.Convert(p, swarm.Int8)
	fmt.Println(o.Config.Quantization.Format, o.Config.Quantization.Ignore[0], err)
	// o.Dir = "mini-int8"; err = hub.SavePretrained(ctx, o)
	// Output: int-quantized lm_head <nil>
}
