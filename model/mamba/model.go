package mamba

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph"
)

// Embed looks tokens up: rows of embeddings.weight [V, d], in f32.
// ids: [B, T] int32. Returns [B, T, d].
func (c Config) Embed(w Weights, ids *Node) *Node {
	ids.AssertDims(-1, -1)
	B, T := ids.Shape().Dimensions[0], ids.Shape().Dimensions[1]
	rows := Gather(w("embeddings.weight"), Reshape(ids, B*T, 1)) // [BT, d]
	return Reshape(widen(rows), B, T, c.DModel)
}

// Layers runs layers [from, to) over x [B, T, d]; states holds one State for each
// of them and is returned as after the last valid token.
// w holds the backbone's tensors (layers.{l}.…).
func (c Config) Layers(w Weights, x *Node, from, to int, states []State, span Span) (*Node, []State) {
	x.AssertDims(-1, -1, c.DModel)
	layer := func(l int) Weights { return w.In(fmt.Sprintf("layers.%d.", l)) }
	if c.fitsLayers(layer, x, from, to, span) {
		return c.layersKernel(layer, x, from, to, states)
	}
	next := make([]State, to-from)
	for l := from; l < to; l++ {
		x, next[l-from] = c.Block(layer(l), x, states[l-from], span)
	}
	return x, next
}

// Head applies the final norm and the LM head: norm_f.weight [d] from backbone,
// lm_head.weight [V, d] from head (for tied weights the embedding). x: [..., d]. Returns logits [..., V] in f32.
func (c Config) Head(backbone, head Weights, x *Node) *Node {
	x = RMSNorm(x, backbone("norm_f.weight"), c.NormEps)
	return widen(c.linear(head, "lm_head", c.narrow(x), false))
}
