package config

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// The config.json of the published state-spaces/mamba-130m and mamba2-130m.
const (
	originalMamba1File = `{"d_model": 768, "n_layer": 24, "vocab_size": 50277, "ssm_cfg": {}, "rms_norm": true,
		"residual_in_fp32": true, "fused_add_norm": true, "pad_vocab_size_multiple": 8}`
	originalMamba2File = `{"d_model": 768, "d_intermediate": 0, "n_layer": 24, "vocab_size": 50277, "ssm_cfg": {"layer": "Mamba2"},
		"attn_layer_idx": [], "attn_cfg": {}, "rms_norm": true, "residual_in_fp32": true, "fused_add_norm": true,
		"pad_vocab_size_multiple": 16, "tie_embeddings": true}`
)

// The counts are those of the published weights.
func TestOriginalParameterCounts(t *testing.T) {
	for file, want := range map[string]int{originalMamba1File: 129_135_360, originalMamba2File: 128_989_632} {
		c, err := Parse([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		if total, _ := c.Swarm.Parameters(); total != want {
			t.Errorf("%d parameters, want %d:\n%s", total, want, file)
		}
	}
}

func TestOriginalMamba2(t *testing.T) {
	c, err := Parse([]byte(`{"d_model": 64, "n_layer": 2, "vocab_size": 100, "pad_vocab_size_multiple": 16, "tie_embeddings": false,
		"ssm_cfg": {"layer": "Mamba2", "d_state": 16, "headdim": 8, "ngroups": 4, "expand": 3, "d_conv": 3, "rmsnorm": true,
		"norm_before_gate": true, "dt_limit": [0.0, Infinity], "bias": true, "conv_bias": false, "chunk_size": 32, "own": 1}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := mamba.Config{Kind: mamba.Mamba2, VocabSize: 112, DModel: 64, NLayer: 2, DState: 16, DConv: 3, Expand: 3, NHeads: 24,
		HeadDim: 8, NGroups: 4, ChunkSize: 32, TimeStepLimit: [2]float64{0, math.Inf(1)}, NormGroupSize: 48, NormBeforeGate: true,
		RMSNorm: true, UseBias: true, NormEps: 1e-5}
	if diff := cmp.Diff(want, c.Swarm.Base); diff != "" {
		t.Errorf("stack (-want +got):\n%s", diff)
	}
	if c.ModelType != "mamba2" || !c.Original || c.BOS != -1 || c.EOS != nil || c.PAD != -1 {
		t.Errorf("model type %q, original %v, tokens %d %v %d", c.ModelType, c.Original, c.BOS, c.EOS, c.PAD)
	}
}

func TestOriginalMamba1(t *testing.T) {
	for rank, want := range map[string]int{`"auto"`: 5, `7`: 7} {
		c, err := Parse([]byte(`{"d_model": 65, "ssm_cfg": {"layer": "Mamba1", "d_state": 8, "dt_rank": ` + rank + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		b := c.Swarm.Base
		if b.Kind != mamba.Mamba1 || b.DTRank != want || b.DState != 8 || b.NLayer != 64 || b.VocabSize != 50280 || !b.TieWordEmbedding {
			t.Errorf("dt_rank %s: %+v", rank, b)
		}
	}
}

func TestOriginalIsWrittenBack(t *testing.T) {
	for _, file := range []string{originalMamba1File, originalMamba2File} {
		c, err := Parse([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		data, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(strings.Fields(string(data)), ""), strings.Join(strings.Fields(file), ""); got != want {
			t.Errorf("want %s\ngot  %s", want, got)
		}
	}
}

func TestOriginalChangedInside(t *testing.T) {
	c, err := Parse([]byte(originalMamba2File))
	if err != nil {
		t.Fatal(err)
	}
	c.Swarm.Base.DState, c.Swarm.Base.VocabSize = 64, 1024
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	d, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Swarm, d.Swarm); diff != "" {
		t.Errorf("(-changed +read back):\n%s", diff)
	}
}

// ExampleConfig_Export writes an original file in HuggingFace's layout.
func ExampleConfig_Export() {
	c, err := Parse([]byte(`{"d_model": 32, "n_layer": 1, "vocab_size": 10, "ssm_cfg": {}, "fused_add_norm": true}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	plain, err := c.Export()
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := plain.Marshal()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s", data)
	// Output:
	// {
	//   "vocab_size": 16,
	//   "fused_add_norm": true,
	//   "architectures": [
	//     "MambaForCausalLM"
	//   ],
	//   "model_type": "mamba",
	//   "hidden_size": 32,
	//   "num_hidden_layers": 1,
	//   "state_size": 16,
	//   "expand": 2,
	//   "conv_kernel": 4,
	//   "time_step_rank": 2,
	//   "use_bias": false,
	//   "use_conv_bias": true,
	//   "hidden_act": "silu",
	//   "layer_norm_epsilon": 1e-05,
	//   "tie_word_embeddings": true,
	//   "bos_token_id": null,
	//   "eos_token_id": null,
	//   "pad_token_id": null
	// }
}

func TestExportOfNormBeforeGate(t *testing.T) {
	c, err := Parse([]byte(`{"d_model": 64, "ssm_cfg": {"layer": "Mamba2", "norm_before_gate": true, "rmsnorm": false}}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Export()
	want := "norm_before_gate: a plain mamba2 cannot have its norm before the gate; keep the original layout; " +
		"rms_norm: a plain mamba2 cannot be without the gated norm; keep the original layout"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
