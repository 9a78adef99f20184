package mamba

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ExampleConfig_LayerTensors prints what one layer of mamba-130m holds.
func ExampleConfig_LayerTensors() {
	c := Config{Kind: Mamba1, DModel: 768, DState: 16, DConv: 4, Expand: 2, DTRank: 48, UseConvBias: true}
	for _, t := range c.LayerTensors() {
		fmt.Println(t.Name, t.Shape)
	}
	// Output:
	// norm.weight [768]
	// mixer.in_proj.weight [3072 768]
	// mixer.conv1d.weight [1536 1 4]
	// mixer.conv1d.bias [1536]
	// mixer.x_proj.weight [80 1536]
	// mixer.dt_proj.weight [1536 48]
	// mixer.dt_proj.bias [1536]
	// mixer.A_log [1536 16]
	// mixer.D [1536]
	// mixer.out_proj.weight [768 1536]
}

// The names and shapes are those of layer 0 of weights/mamba2-mini.
func TestLayerTensorsMamba2(t *testing.T) {
	c := Config{Kind: Mamba2, DModel: 384, DState: 64, DConv: 4, Expand: 2,
		NHeads: 12, HeadDim: 64, NGroups: 1, UseConvBias: true, RMSNorm: true}
	want := []TensorSpec{
		{"norm.weight", []int{384}},
		{"mixer.in_proj.weight", []int{1676, 384}},
		{"mixer.conv1d.weight", []int{896, 1, 4}},
		{"mixer.conv1d.bias", []int{896}},
		{"mixer.dt_bias", []int{12}},
		{"mixer.A_log", []int{12}},
		{"mixer.D", []int{12}},
		{"mixer.norm.weight", []int{768}},
		{"mixer.out_proj.weight", []int{384, 768}},
	}
	if diff := cmp.Diff(want, c.LayerTensors()); diff != "" {
		t.Errorf("layer tensors (-want +got):\n%s", diff)
	}
}

func TestLayerTensorsBiases(t *testing.T) {
	c := Config{Kind: Falcon, DModel: 8, DState: 4, DConv: 3, DInnerSize: 20, Expand: 2, DTRank: 2, UseBias: true}
	got := map[string][]int{}
	for _, spec := range c.LayerTensors() {
		got[spec.Name] = spec.Shape
	}
	want := map[string][]int{
		"norm.weight": {8}, "mixer.in_proj.weight": {40, 8}, "mixer.in_proj.bias": {40},
		"mixer.conv1d.weight": {20, 1, 3}, "mixer.x_proj.weight": {10, 20},
		"mixer.dt_proj.weight": {20, 2}, "mixer.dt_proj.bias": {20}, "mixer.A_log": {20, 4},
		"mixer.D": {20}, "mixer.out_proj.weight": {8, 20}, "mixer.out_proj.bias": {8},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layer tensors (-want +got):\n%s", diff)
	}
}

func TestOuterTensorsUntied(t *testing.T) {
	c := Config{DModel: 4, VocabSize: 10}
	want := []TensorSpec{
		{"backbone.embeddings.weight", []int{10, 4}},
		{"backbone.norm_f.weight", []int{4}},
		{"lm_head.weight", []int{10, 4}},
	}
	if diff := cmp.Diff(want, c.OuterTensors()); diff != "" {
		t.Errorf("outer tensors (-want +got):\n%s", diff)
	}
}
