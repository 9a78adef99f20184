package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A swarm grown from a real file says so, keeps what it does not know, and gives
// the plain configuration back.
func TestGrowAndExport(t *testing.T) {
	plain, err := Load(mini)
	if err != nil {
		t.Fatal(err)
	}
	grown, err := plain.Grow(4, 2, 3, "mamba2-mini")
	if err != nil {
		t.Fatal(err)
	}
	data, err := grown.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	read, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(grown.Swarm, read.Swarm); diff != "" {
		t.Errorf("(-grown +read):\n%s", diff)
	}
	if diff := cmp.Diff(plain.Swarm.Base, read.Swarm.Base); diff != "" {
		t.Errorf("the stack changed (-plain +grown):\n%s", diff)
	}
	if read.GrownFrom != "mamba2-mini" || read.ModelType != Swarm {
		t.Errorf("grown from %q, type %q", read.GrownFrom, read.ModelType)
	}
	if _, ok := read.Extra("initializer_range"); !ok {
		t.Error("initializer_range is lost")
	}
	exported, err := read.Export()
	if err != nil {
		t.Fatal(err)
	}
	back, err := exported.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"num_encoder", "router_", "grown_from", "aggregator", "base_model_type", "mamba_swarm", "MambaSwarm"} {
		if strings.Contains(string(back), key) {
			t.Errorf("the exported file still says %s:\n%s", key, back)
		}
	}
	again, err := Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain.Swarm, again.Swarm); diff != "" {
		t.Errorf("(-plain +exported):\n%s", diff)
	}
}

// Codestral's file says norm_before_gate, which transformers ignores; a swarm grown
// from it must not start to heed it.
func TestGrowDoesNotReviveIgnoredKeys(t *testing.T) {
	plain, err := Parse([]byte(`{"model_type": "mamba2", "hidden_size": 64, "num_heads": 2, "n_groups": 1,
		"norm_before_gate": true, "rms_norm": false, "auto_map": {"AutoConfig": "a.B"}}`))
	if err != nil {
		t.Fatal(err)
	}
	grown, err := plain.Grow(2, 1, 1, "x")
	if err != nil {
		t.Fatal(err)
	}
	data, err := grown.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	read, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if read.Swarm.Base.NormBeforeGate || !read.Swarm.Base.RMSNorm {
		t.Errorf("the norm changed:\n%s", data)
	}
	if strings.Contains(string(data), "a.B") {
		t.Errorf("classes of the plain model are kept:\n%s", data)
	}
	if plain, err = grown.Export(); err != nil {
		t.Fatal(err)
	}
	if data, err = plain.Marshal(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "auto_map") {
		t.Errorf("an exported encoder has Python classes:\n%s", data)
	}
}

func TestGrowLeavesItsSourceAlone(t *testing.T) {
	plain, err := Load(mini)
	if err != nil {
		t.Fatal(err)
	}
	before, err := plain.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	grown, err := plain.Grow(4, 2, 3, "x")
	if err != nil {
		t.Fatal(err)
	}
	grown.EOS[0] = 7
	after, err := plain.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("growing changed the plain configuration")
	}
}

// As compressed_tensors 0.20 writes it for weight-only int8 per channel.
const int8Config = `{"config_groups": {"group_0": {"format": "int-quantized", "input_activations": null, "output_activations": null,
	"targets": ["Linear"], "weights": {"dynamic": false, "group_size": null, "num_bits": 8, "strategy": "channel", "symmetric": true,
	"type": "int"}}}, "format": "int-quantized", "global_compression_ratio": null, "ignore": ["lm_head"], "kv_cache_scheme": null,
	"quant_method": "compressed-tensors", "quantization_status": "compressed"}`

func TestQuantization(t *testing.T) {
	c, err := Parse([]byte(plain(`"quantization_config": ` + int8Config)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(NewQuantization("lm_head"), c.Quantization); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), "global_compression_ratio") {
		t.Error("an unchanged quantization_config lost a key")
	}
	c.Quantization = nil
	if data, err = c.Marshal(); err != nil || strings.Contains(string(data), "quantization") {
		t.Errorf("nil quantisation is written (%v):\n%s", err, data)
	}
	c.Quantization = NewQuantization()
	if data, err = c.Marshal(); err != nil {
		t.Fatal(err)
	}
	d, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if d.Quantization == nil || len(d.Quantization.Ignore) != 0 || d.Quantization.Bits != 8 {
		t.Errorf("read back as %+v", d.Quantization)
	}
}

func TestQuantizationFaults(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"method":      {`"compressed-tensors"`, `"gptq"`, `quantization_config.quant_method: "gptq" is not supported; ` + quantHint},
		"format":      {`"ignore"`, `"x"`, ""},
		"bits":        {`"num_bits": 8`, `"num_bits": 4`, `quantization_config.config_groups.group_0.weights.num_bits: 4 is not supported; ` + quantHint},
		"asymmetric":  {`"symmetric": true`, `"symmetric": false`, `quantization_config.config_groups.group_0.weights.symmetric: false is not supported; ` + quantHint},
		"group":       {`"channel"`, `"group"`, `quantization_config.config_groups.group_0.weights.strategy: "group" is not supported; ` + quantHint},
		"float":       {`"type": "int"`, `"type": "float"`, `quantization_config.config_groups.group_0.weights.type: "float" is not supported; ` + quantHint},
		"activations": {`"input_activations": null`, `"input_activations": {"num_bits": 8}`, `quantization_config.config_groups.group_0.input_activations: quantised activations are not supported; ` + quantHint},
		"weights":     {`"weights"`, `"w"`, `quantization_config.config_groups.group_0.weights: missing; ` + quantHint},
		"groups":      {`"config_groups"`, `"g"`, `quantization_config.config_groups: missing; ` + quantHint},
		"packed": {`"format": "int-quantized", "global`, `"format": "pack-quantized", "global`,
			`quantization_config.format: "pack-quantized" is not supported; ` + quantHint},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(int8Config, c.from, c.to, 1)
			if changed == int8Config {
				t.Fatal("the case changes nothing")
			}
			_, err := Parse([]byte(plain(`"quantization_config": ` + changed)))
			if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := Parse([]byte(plain(`"quantization_config": 8`))); err == nil || err.Error() != "quantization_config: must be an object, is 8" {
		t.Errorf("got %v", err)
	}
	if _, err := Parse([]byte(plain(`"quantization_config": {"load_in_4bit": true}`))); err == nil || !strings.Contains(err.Error(), "quant_method: nothing is not supported") {
		t.Errorf("got %v", err)
	}
}
