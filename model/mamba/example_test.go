package mamba_test

import (
	"fmt"
	"math/rand/v2"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// ExampleConfig_Layers reads four tokens at once, then a fifth from the state that
// they leave behind. The state has the same size after any number of tokens.
func ExampleConfig_Layers() {
	be, _, err := backend.Open(backend.Go, backend.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	c := mamba.Config{Kind: mamba.Mamba1, VocabSize: 10, DModel: 8, NLayer: 2, DState: 4, DConv: 4, Expand: 2,
		DTRank: mamba.AutoDTRank(8), UseConvBias: true, NormEps: 1e-5, TieWordEmbedding: true}
	weights := map[string]*tensors.Tensor{}
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(t mamba.TensorSpec, prefix string) {
		weights[prefix+t.Name] = tensors.FromFlatDataAndDimensions(c.Init(t.Name, t.Shape, rng), t.Shape...)
	}
	for _, t := range c.OuterTensors() {
		draw(t, "")
	}
	for l := range c.NLayer {
		for _, t := range c.LayerTensors() {
			draw(t, fmt.Sprintf("backbone.layers.%d.", l))
		}
	}
	results, err := CallOnceN(be, func(ids []*Node) []*Node {
		get := mamba.Weights(func(name string) *Node { return Const(ids[0].Graph(), weights[name]) })
		core := get.In("backbone.")
		head := func(string) *Node { return core("embeddings.weight") } // tied
		states := []mamba.State{c.ZeroState(ids[0].Graph(), 1), c.ZeroState(ids[0].Graph(), 1)}
		var logits *Node
		for _, piece := range ids {
			var x *Node
			x, states = c.Layers(core, c.Embed(core, piece), 0, c.NLayer, states, mamba.Span{})
			logits = c.Head(core, head, x)
		}
		return []*Node{logits, states[0].Conv, states[0].SSM}
	}, [][]int32{{3, 1, 4, 1}}, [][]int32{{5}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("logits of the fifth token", results[0].Shape().Dimensions)
	fmt.Println("state", results[1].Shape().Dimensions, results[2].Shape().Dimensions)
	// Output:
	// logits of the fifth token [1 1 10]
	// state [1 3 16] [1 4 16]
}

// ExampleConfig_InProjDim gives the widths of mamba2-130m's layers.
func ExampleConfig_InProjDim() {
	c := mamba.Config{Kind: mamba.Mamba2, DModel: 768, DState: 128, Expand: 2, NHeads: 24, HeadDim: 64, NGroups: 1}
	fmt.Println(c.DInner(), c.ConvDim(), c.InProjDim())
	// Output: 1536 1792 3352
}
