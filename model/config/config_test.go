package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

var update = flag.Bool("update", false, "rewrite config.json and the schema at the root of the repository")

const (
	root = "../.."
	mini = root + "/weights/mamba2-mini"
)

func ExampleParse() {
	c, err := Parse([]byte(`{"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 4, "vocab_size": 512}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	b := c.Swarm.Base
	fmt.Println(b.DModel, b.DInner(), b.DTRank, b.DState, c.EOS)
	// Output: 64 128 4 16 [0]
}

func ExampleParse_faults() {
	_, err := Parse([]byte(`{"model_type": "mamba_swarm", "base_model_type": "mamba", "vocab_size": -1,
		"num_encoders": 8, "num_encoders_per_token": 12, "num_encoder_layers": 3}`))
	var faults *FaultError
	if errors.As(err, &faults) {
		for _, f := range faults.Faults {
			fmt.Printf("%s: %s\n", f.Field, f.Message)
		}
	}
	// Output:
	// vocab_size: -1 is below 1
	// num_encoders_per_token: 12 exceeds num_encoders 8
}

func ExampleConfig_Grow() {
	plain, err := Load(mini)
	if err != nil {
		fmt.Println(err)
		return
	}
	grown, err := plain.Grow(16, 2, 3, "mamba2-mini")
	if err != nil {
		fmt.Println(err)
		return
	}
	total, active := grown.Swarm.Parameters()
	fmt.Printf("%s of %d encoders: %d parameters, %d active\n", grown.ModelType, grown.Swarm.Router.NumEncoders, total, active)
	// Output: mamba_swarm of 16 encoders: 57337168 parameters, 17871952 active
}

// The whole of a real file, with a bare Infinity in it.
func TestLoadMamba2Mini(t *testing.T) {
	c, err := Load(mini)
	if err != nil {
		t.Fatal(err)
	}
	want := mamba.Config{Kind: mamba.Mamba2, VocabSize: 8192, DModel: 384, NLayer: 12, DState: 64, DConv: 4, Expand: 2,
		NHeads: 12, HeadDim: 64, NGroups: 1, ChunkSize: 256, TimeStepLimit: [2]float64{0, math.Inf(1)},
		NormGroupSize: 768, RMSNorm: true, UseConvBias: true, NormEps: 1e-5, TieWordEmbedding: true}
	if diff := cmp.Diff(want, c.Swarm.Base); diff != "" {
		t.Errorf("stack (-want +got):\n%s", diff)
	}
	if c.ModelType != "mamba2" || c.BOS != 0 || c.PAD != 0 || len(c.EOS) != 1 || c.EOS[0] != 0 || c.DType != "bfloat16" {
		t.Errorf("identity %q, tokens %d %v %d, dtype %q", c.ModelType, c.BOS, c.EOS, c.PAD, c.DType)
	}
	if !c.Swarm.Plain() || c.Swarm.Router.NumEncoders != 1 || c.Quantization != nil {
		t.Errorf("not plain: %+v", c.Swarm)
	}
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(mini + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(file)), strings.TrimSpace(string(data))); diff != "" {
		t.Errorf("a file that nobody changed is written differently (-file +written):\n%s", diff)
	}
}

// What transformers itself writes for its defaults must equal our defaults for
// absent keys, and be written back as it was.
func TestDefaultsAreThoseOfTransformers(t *testing.T) {
	for _, name := range []string{"mamba", "mamba2", "falcon_mamba"} {
		t.Run(name, func(t *testing.T) {
			full, err := Load("testdata/" + name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			empty, err := Parse([]byte(`{"model_type": "` + name + `"}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(full.Swarm, empty.Swarm); diff != "" {
				t.Errorf("stack (-transformers +ours):\n%s", diff)
			}
			if full.BOS != empty.BOS || full.PAD != empty.PAD || !cmp.Equal(full.EOS, empty.EOS) {
				t.Errorf("token ids: transformers has %d %v %d, ours are %d %v %d",
					full.BOS, full.EOS, full.PAD, empty.BOS, empty.EOS, empty.PAD)
			}
		})
	}
}

func TestFixturesAreWrittenBack(t *testing.T) {
	for _, name := range []string{"mamba", "mamba2", "falcon_mamba", "mamba_small", "falcon_small", "mamba2_small"} {
		t.Run(name, func(t *testing.T) {
			path := "testdata/" + name + ".json"
			c, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			added := `,
  "architectures": [
    "` + classOf[c.ModelType] + `"
  ]
}`
			want := strings.TrimSuffix(string(file), "\n}\n") + added + "\n"
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Errorf("(-file +written):\n%s", diff)
			}
		})
	}
}

func TestFalconSmall(t *testing.T) {
	c, err := Load("testdata/falcon_small.json")
	if err != nil {
		t.Fatal(err)
	}
	want := mamba.Config{Kind: mamba.Falcon, VocabSize: 512, DModel: 64, NLayer: 4, DState: 16, DConv: 4, Expand: 16,
		DInnerSize: 128, DTRank: 6, UseBias: true, UseConvBias: true, NormEps: 1e-5, MixerNormEps: 1e-5, TieWordEmbedding: true}
	if diff := cmp.Diff(want, c.Swarm.Base); diff != "" {
		t.Errorf("stack (-want +got):\n%s", diff)
	}
	if c.PAD != -1 || !cmp.Equal(c.EOS, []int{11, 7}) || c.DType != "bfloat16" {
		t.Errorf("pad %d, eos %v, dtype %q", c.PAD, c.EOS, c.DType)
	}
}

func TestMamba2Small(t *testing.T) {
	c, err := Load("testdata/mamba2_small.json")
	if err != nil {
		t.Fatal(err)
	}
	b := c.Swarm.Base
	if b.TimeStepLimit != [2]float64{0.001, math.Inf(1)} || b.NormGroupSize != 64 || b.NGroups != 2 {
		t.Errorf("limit %v, norm over %d, %d groups", b.TimeStepLimit, b.NormGroupSize, b.NGroups)
	}
}

// The tensors that we look for are the parameters of transformers' models.
func TestTensorsAreThoseOfTransformers(t *testing.T) {
	for _, name := range []string{"mamba_small", "falcon_small", "mamba2_small"} {
		t.Run(name, func(t *testing.T) {
			c, err := Load("testdata/" + name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile("testdata/" + name + ".shapes.json")
			if err != nil {
				t.Fatal(err)
			}
			var want map[string][]int
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			got := map[string][]int{}
			for _, spec := range c.Swarm.Tensors() {
				got[spec.Name] = spec.Shape
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-transformers +ours):\n%s", diff)
			}
		})
	}
}

const swarmFile = `{"model_type": "mamba_swarm", "base_model_type": "mamba2", "hidden_size": 64, "num_heads": 8, "head_dim": 16,
	"n_groups": 2, "num_hidden_layers": 4, "vocab_size": 512, "num_encoders": 3, "num_encoders_per_token": 2, "num_encoder_layers": 1`

func TestSwarmEveryKey(t *testing.T) {
	c, err := Parse([]byte(swarmFile + `, "architectures": ["Other"], "auto_map": {"AutoConfig": "x.Y"},
		"router_granularity": "sequence", "router_chunk_length": 8, "router_sequence_position": 32, "router_dim": 16,
		"router_half_lives": [4, 8.5], "router_temperature": 0.5, "router_hysteresis": 0.1, "default_encoders": [2, 0],
		"encoder_state": "reset", "encoder_fusion": "weights", "aggregator_dim": 8, "encoder_domains": ["a", "b", "c"],
		"norm_group_size": 128, "norm_before_gate": true, "rms_norm": false, "grown_from": "x"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := router.Config{NumEncoders: 3, EncodersPerToken: 2, Granularity: router.PerSequence, ChunkLength: 8, SequenceDecision: 32,
		Dim: 16, HalfLives: []float64{4, 8.5}, Temperature: 0.5, Hysteresis: 0.1, DefaultEncoders: []int{2, 0}, Domains: []string{"a", "b", "c"}}
	if diff := cmp.Diff(want, c.Swarm.Router); diff != "" {
		t.Errorf("router (-want +got):\n%s", diff)
	}
	s := c.Swarm
	if s.EncoderState != swarm.Reset || s.Fusion != swarm.FuseWeights || s.AggregatorDim != 8 || s.NumEncoderLayers != 1 || c.GrownFrom != "x" {
		t.Errorf("swarm %+v, grown from %q", s, c.GrownFrom)
	}
	if b := s.Base; b.NormGroupSize != 128 || !b.NormBeforeGate || b.RMSNorm {
		t.Errorf("norm: groups of %d, before the gate %v, present %v", b.NormGroupSize, b.NormBeforeGate, b.RMSNorm)
	}
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	read, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if c.NamesPython() || !read.NamesPython() {
		t.Errorf("names our Python: %v as read, %v as written", c.NamesPython(), read.NamesPython())
	}
	if strings.Contains(string(data), "x.Y") {
		t.Errorf("Python classes of another origin are kept:\n%s", data)
	}
	for _, part := range []string{`"MambaSwarmForCausalLM"`, `"AutoConfig": "configuration_mamba_swarm.MambaSwarmConfig"`, `"norm_before_gate": true`} {
		if !strings.Contains(string(data), part) {
			t.Errorf("written without %s:\n%s", part, data)
		}
	}
}

func TestSwarmDefaults(t *testing.T) {
	c, err := Parse([]byte(swarmFile + `}`))
	if err != nil {
		t.Fatal(err)
	}
	want := router.Config{NumEncoders: 3, EncodersPerToken: 2, Granularity: router.PerChunk, ChunkLength: 16, SequenceDecision: 64,
		Dim: 64, HalfLives: []float64{16, 128, 1024}, Temperature: 1, Hysteresis: 0.02, DefaultEncoders: []int{0, 1}}
	if diff := cmp.Diff(want, c.Swarm.Router); diff != "" {
		t.Errorf("router (-want +got):\n%s", diff)
	}
	s := c.Swarm
	if s.EncoderState != swarm.Handoff || s.Fusion != swarm.FuseAttention || s.AggregatorDim != 64 || s.Base.NormGroupSize != 64 {
		t.Errorf("swarm %+v", s)
	}
}

func TestUnknownKeysKeepTheirPlace(t *testing.T) {
	in := `{
  "zebra": {
    "deep": [
      NaN,
      -Infinity,
      {
        "__float__": "NaN"
      }
    ]
  },
  "model_type": "mamba",
  "hidden_size": 64,
  "initializer_range": 1E-1,
  "num_hidden_layers": 2,
  "apple": "é\u00e9<&>"
`
	c, err := Parse([]byte(in + "}"))
	if err != nil {
		t.Fatal(err)
	}
	c.Swarm.Base.NLayer = 3
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSuffix(strings.Replace(in, `layers": 2`, `layers": 3`, 1), "\n")
	if !strings.HasPrefix(string(data), want) {
		t.Errorf("want it to begin with\n%s\ngot\n%s", want, data)
	}
	if v, ok := c.Extra("initializer_range"); !ok || v != "1E-1" {
		t.Errorf("Extra gives %q, %v", v, ok)
	}
	if _, ok := c.Extra("hidden_size"); ok {
		t.Error("Extra gives a key that the package knows")
	}
}

func TestInfinityIsWrittenBare(t *testing.T) {
	c, err := Load("testdata/mamba2.json")
	if err != nil {
		t.Fatal(err)
	}
	c.Swarm.Base.TimeStepLimit[0] = 0.5
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if want := "\"time_step_limit\": [\n    0.5,\n    Infinity\n  ]"; !strings.Contains(string(data), want) {
		t.Errorf("want %s in\n%s", want, data)
	}
}

func TestDTypeKeepsItsKey(t *testing.T) {
	for in, want := range map[string]string{
		`"dtype": "float16"`:                             `"dtype": "bfloat16"`,
		`"torch_dtype": "float16"`:                       `"torch_dtype": "bfloat16"`,
		`"torch_dtype": "float32", "dtype": "float16"`:   `"dtype": "bfloat16"`,
		`"torch_dtype": null`:                            `"torch_dtype": "bfloat16"`,
		`"torch_dtype": "float32", "dtype": "float16"  `: `"dtype": "bfloat16"`,
		`"use_cache": true`:                              `"torch_dtype": "bfloat16"`,
	} {
		c, err := Parse([]byte(`{"model_type": "mamba", ` + in + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(in, "16") && c.DType != "float16" {
			t.Errorf("%s: dtype %q", in, c.DType)
		}
		c.DType = "bfloat16"
		data, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), want) || strings.Count(string(data), "dtype") != 1 {
			t.Errorf("%s: want only %s in\n%s", in, want, data)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	if err := Default().Save(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("folder holds %v (%v), want config.json alone", entries, err)
	}
	c, err := Load(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default().Swarm, c.Swarm); diff != "" {
		t.Errorf("(-saved +loaded):\n%s", diff)
	}
}

func TestSaveIntoMissingFolder(t *testing.T) {
	if err := Default().Save(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestLoadMissing(t *testing.T) {
	if _, err := Load(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestLoadTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(path, make([]byte, maxFileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than 16 MB") {
		t.Errorf("got %v", err)
	}
}

// The config.json of the repository is the default, and Go code reads it so.
func TestRepositoryConfig(t *testing.T) {
	want, err := Default().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, FileName)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("config.json is stale; run go test ./model/config -update (-Default +file):\n%s", diff)
	}
	c, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default().Swarm, c.Swarm); diff != "" {
		t.Errorf("(-Default +file):\n%s", diff)
	}
}

func TestPresets(t *testing.T) {
	for _, name := range PresetNames {
		c, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Preset("huge"); err == nil || !strings.Contains(err.Error(), "tiny, small, base") {
		t.Errorf("preset huge: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, path := range []string{mini + "/config.json", root + "/config.json", "testdata/mamba.json", "testdata/mamba2_small.json", "testdata/falcon_small.json"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(swarmFile + `, "": 1, "dtype": null, "quantization_config": ` + int8Config + `}`))
	f.Add([]byte(originalMamba2File))
	f.Add([]byte(`{"d_model": 8, "n_layer": 1, "ssm_cfg": {"layer": "Mamba1", "dt_rank": "auto", "x": [NaN]}, "vocab_size": 1}`))
	f.Fuzz(func(t *testing.T, data []byte) { checkStable(t, data) })
}

// checkStable demands that whatever parses can be written, reads back the same, and
// is then written the same.
func checkStable(t *testing.T, data []byte) {
	t.Helper()
	c, err := Parse(data)
	if err != nil {
		return
	}
	once, err := c.Marshal()
	if err != nil {
		t.Fatalf("parsed but cannot be written: %v\n%s", err, data)
	}
	d, err := Parse(once)
	if err != nil {
		t.Fatalf("written but cannot be parsed: %v\n%s", err, once)
	}
	if diff := cmp.Diff(c.Swarm, d.Swarm); diff != "" {
		t.Fatalf("%s (-first +second):\n%s", data, diff)
	}
	twice, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if string(once) != string(twice) {
		t.Fatalf("written once:\n%s\ntwice:\n%s", once, twice)
	}
}

// Every key of every kind of file, with values that it may or may not hold.
func TestEveryKeyWithEveryValue(t *testing.T) {
	values := []string{"null", "true", "false", "0", "1", "2", "-1", "3.0", "1e2", "1e400", "64", "128", "4096", "16384", "131072", "1048576",
		"9223372036854775807", "9223372036854775808", "NaN", "Infinity", "-Infinity", `""`, `"auto"`, `"swish"`, `"Mamba2"`, "[]", "[0]",
		"[1, 0]", "[0, Infinity]", `[0.5, {"__float__": "Infinity"}]`, `["a", "b", "c"]`, "[[]]", "{}", `{"layer": "Mamba2"}`,
		`{"__float__": "NaN"}`, int8Config}
	files := map[string][]field[Config]{`{"model_type": "mamba"`: huggingFace, `{"model_type": "mamba2"`: huggingFace,
		`{"model_type": "falcon_mamba"`: huggingFace, swarmFile: huggingFace, `{"d_model": 64`: original}
	accepted := 0
	try := func(file, key, value string) {
		if strings.Contains(file, `"`+key+`"`) { // the value takes the place of the file's
			before, after, _ := strings.Cut(file, `"`+key+`": `)
			_, after, _ = strings.Cut(after, ",")
			file = strings.TrimSuffix(strings.TrimSpace(before+after), ",")
		}
		if !strings.HasSuffix(file, "{") {
			file += ", "
		}
		data := []byte(file + `"` + key + `": ` + value + "}")
		if _, err := Parse(data); err == nil {
			accepted++
		}
		checkStable(t, data)
	}
	for file, fields := range files {
		for _, value := range values {
			for _, f := range fields {
				for _, name := range f.names() {
					try(file, name, value)
				}
			}
			try(file, "unknown", value)
		}
	}
	for _, value := range values {
		for _, f := range ssm {
			for _, layer := range []string{layerMamba1, layerMamba2} {
				checkStable(t, []byte(`{"d_model": 64, "ssm_cfg": {"layer": "`+layer+`", "x": 1, "`+f.key+`": `+value+`}}`))
			}
		}
	}
	if accepted < 1000 {
		t.Errorf("only %d of the files were accepted, the test says nothing", accepted)
	}
}
