package swarm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

var (
	mamba130m = mamba.Config{Kind: mamba.Mamba1, VocabSize: 50280, DModel: 768, NLayer: 24, DState: 16,
		DConv: 4, Expand: 2, DTRank: 48, UseConvBias: true, TieWordEmbedding: true}
	mamba2130m = mamba.Config{Kind: mamba.Mamba2, VocabSize: 50288, DModel: 768, NLayer: 24, DState: 128,
		DConv: 4, Expand: 2, NHeads: 24, HeadDim: 64, NGroups: 1, UseConvBias: true, RMSNorm: true, TieWordEmbedding: true}
	mini = mamba.Config{Kind: mamba.Mamba2, VocabSize: 8192, DModel: 384, NLayer: 12, DState: 64,
		DConv: 4, Expand: 2, NHeads: 12, HeadDim: 64, NGroups: 1, UseConvBias: true, RMSNorm: true, TieWordEmbedding: true}
)

func grown(base mamba.Config, e, k, layers int) Config {
	return Config{Base: base, NumEncoderLayers: layers, EncoderState: Handoff, Fusion: FuseAttention, AggregatorDim: 64,
		Router: router.Config{NumEncoders: e, EncodersPerToken: k, Dim: 64, HalfLives: []float64{16, 128, 1024}}}
}

// The first two counts are those of the published checkpoints, the third that of
// the file weights/mamba2-mini/model.safetensors.
func TestParametersPlain(t *testing.T) {
	for name, c := range map[string]struct {
		base mamba.Config
		want int
	}{
		"mamba-130m":  {mamba130m, 129_135_360},
		"mamba2-130m": {mamba2130m, 128_989_632},
		"mamba2-mini": {mini, 14_476_080},
	} {
		t.Run(name, func(t *testing.T) {
			sum := 0
			plain := Config{Base: c.base, Router: router.Config{NumEncoders: 1, EncodersPerToken: 1}}
			for _, spec := range plain.Tensors() {
				sum += spec.Elements()
			}
			total, active := plain.Parameters()
			if sum != c.want || total != c.want || active != c.want {
				t.Errorf("tensors hold %d values, Parameters says %d and %d; want %d", sum, total, active, c.want)
			}
		})
	}
}

// The counts without router and aggregator are worked out by hand: one encoder
// layer of mamba-130m owns 768 + 3072·768 + 768·1536 = 3,539,712 values.
func TestParametersSwarm(t *testing.T) {
	const base, layer = 129_135_360, 3_539_712
	for _, c := range []struct{ e, k, layers int }{{5, 3, 2}, {1000, 10, 1}, {1000, 10, 2}} {
		s := grown(mamba130m, c.e, c.k, c.layers)
		extra := 0 // router and aggregator
		sum := 0
		for _, spec := range s.Tensors() {
			sum += spec.Elements()
			if strings.Contains(spec.Name, ".router.") || strings.Contains(spec.Name, ".aggregator.") {
				extra += spec.Elements()
			}
		}
		wantExtra := 50280*64 + c.e*192 + c.e + 2*64*768 + c.e + 768
		total, active := s.Parameters()
		if want := base + (c.e-1)*c.layers*layer + wantExtra; total != want || sum != want || extra != wantExtra {
			t.Errorf("E=%d L_e=%d: total %d, sum %d, want %d (router and aggregator %d, want %d)",
				c.e, c.layers, total, sum, want, extra, wantExtra)
		}
		if want := base + (c.k-1)*c.layers*layer + wantExtra; active != want {
			t.Errorf("E=%d k=%d: active %d, want %d", c.e, c.k, active, want)
		}
	}
}

func TestTensorsOfSwarm(t *testing.T) {
	base := mamba.Config{Kind: mamba.Mamba2, VocabSize: 10, DModel: 4, NLayer: 2, DState: 3, DConv: 2, Expand: 2,
		NHeads: 2, HeadDim: 4, NGroups: 1, UseBias: true, RMSNorm: true, TieWordEmbedding: true}
	c := grown(base, 2, 1, 1)
	got := map[string]TensorSpec{}
	for _, spec := range c.Tensors() {
		if _, twice := got[spec.Name]; twice {
			t.Errorf("%s listed twice", spec.Name)
		}
		got[spec.Name] = spec
	}
	want := map[string]TensorSpec{}
	add := func(encoder, layer int, name string, shape ...int) {
		spec := TensorSpec{Name: name, Shape: shape, Encoder: encoder, Layer: layer, Plain: name, Stack: name}
		switch rest, own := strings.CutPrefix(name, fmt.Sprintf("backbone.encoders.%d.", encoder)); {
		case own:
			spec.Plain, spec.Stack = "backbone."+rest, "backbone.encoders."+rest
		case strings.Contains(name, "router.") || strings.Contains(name, "aggregator."):
			spec.Plain = ""
		}
		want[name] = spec
	}
	add(None, None, "backbone.embeddings.weight", 10, 4)
	add(None, None, "backbone.norm_f.weight", 4)
	add(None, None, "backbone.router.embeddings.weight", 10, 64)
	add(None, None, "backbone.router.proj.weight", 2, 192)
	add(None, None, "backbone.router.bias", 2)
	add(None, None, "backbone.aggregator.q.weight", 64, 4)
	add(None, None, "backbone.aggregator.k.weight", 64, 4)
	add(None, None, "backbone.aggregator.beta", 2)
	add(None, None, "backbone.aggregator.quality.weight", 1, 4)
	for l := range 2 {
		p := fmt.Sprintf("backbone.layers.%d.mixer.", l)
		add(None, l, p+"conv1d.weight", 14, 1, 2)
		add(None, l, p+"dt_bias", 2)
		add(None, l, p+"A_log", 2)
		add(None, l, p+"D", 2)
	}
	own := func(encoder, layer int, prefix string) {
		add(encoder, layer, prefix+"norm.weight", 4)
		add(encoder, layer, prefix+"mixer.in_proj.weight", 24, 4)
		add(encoder, layer, prefix+"mixer.in_proj.bias", 24)
		add(encoder, layer, prefix+"mixer.norm.weight", 8)
		add(encoder, layer, prefix+"mixer.out_proj.weight", 4, 8)
		add(encoder, layer, prefix+"mixer.out_proj.bias", 4)
	}
	own(None, 1, "backbone.layers.1.")
	own(0, 0, "backbone.encoders.0.layers.0.")
	own(1, 0, "backbone.encoders.1.layers.0.")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tensors (-want +got):\n%s", diff)
	}
}

func TestTensorsFuseWeightsHasNoAggregator(t *testing.T) {
	c := grown(mini, 4, 2, 3)
	c.Fusion = FuseWeights
	for _, spec := range c.Tensors() {
		if strings.Contains(spec.Name, "aggregator") {
			t.Errorf("%s listed for fusion weights", spec.Name)
		}
	}
}

func ExampleConfig_Parameters() {
	total, active := grown(mini, 8, 2, 3).Parameters()
	fmt.Printf("%.1fM total, %.1fM active\n", float64(total)/1e6, float64(active)/1e6)
	// Output: 34.8M total, 17.9M active
}
