package swarm

import (
	"context"
	"fmt"

	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// ExampleSession reads a prompt and then one token. The router decides at every sixth
// token of this swarm; its decision of token 6 still holds for token 8, and comes with
// its reason. Any Source of tensors will do; hub.FromPretrained opens folders.
func ExampleSession() {
	be, _, err := backend.Open(backend.Go, backend.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := tinySwarm(mamba.Mamba2)
	m, err := Load(be, cfg, randomSource(cfg, 7), Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	s, err := m.NewSession("code")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	for _, ids := range [][]int32{{4, 8, 15, 16, 23, 30, 3, 1}, {36}} {
		logits, chunks, err := s.Feed(context.Background(), ids)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, c := range chunks {
			fmt.Printf("tokens %d to %d: encoders %v, %s\n", c.Start, c.End-1, c.Slots, c.Reason)
		}
		fmt.Println(len(logits), "logits after", s.Position(), "tokens")
	}
	// Output:
	// tokens 0 to 5: encoders [1 0], domain
	// tokens 6 to 7: encoders [1 2], swapped
	// 37 logits after 8 tokens
	// tokens 8 to 8: encoders [1 2], swapped
	// 37 logits after 9 tokens
}

// ExampleQuantize rounds two rows, each with its own scale.
func ExampleQuantize() {
	q, scales, err := Quantize([]float32{12.7, -6.35, 0, 0.1, 1.27, 0.635}, 2)
	fmt.Println(q, scales, err)
	// Output: [127 -64 0 10 127 64] [0.1 0.01] <nil>
}

// ExampleConfig_EncoderTensors prints what one encoder of a small swarm owns.
func ExampleConfig_EncoderTensors() {
	for _, t := range tinySwarm(mamba.Mamba2).EncoderTensors(3) {
		fmt.Println(t.Name, t.Shape)
	}
	// Output:
	// backbone.encoders.3.layers.0.norm.weight [8]
	// backbone.encoders.3.layers.0.mixer.in_proj.weight [52 8]
	// backbone.encoders.3.layers.0.mixer.norm.weight [16]
	// backbone.encoders.3.layers.0.mixer.out_proj.weight [8 16]
}
