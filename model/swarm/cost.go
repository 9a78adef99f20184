package swarm

import (
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// FLOPs returns the floating-point operations that one token costs in decoding:
//
//	matrices    2 for each weight of in_proj, x_proj, dt_proj, out_proj, conv1d and
//	            the head; in_proj and out_proj of k encoders in the encoder layers
//	scan        Mamba-1: 7·di·N, from h = exp(Δ·A)·h + (Δx)·B and y = C·h (Gu & Dao
//	            2023, eq. 2 and Algorithm 2); Mamba-2: 5·di·N, as Δ·A is one number a
//	            head (Dao & Gu 2024, §2)
//	aggregator  2·dim·d for the query, (2·dim + 4)·d for each of k encoders
//	router      3 for each value of its averages, 2·E·values for a decision, divided
//	            by the tokens between two
//	merging     with encoder_fusion weights, 2 for each weight of k encoders, divided
//	            by the tokens between two decisions
//
// Convolution and scan run once for each of k slots (once in all with fusion
// weights). Norms, activations and gates are not counted: they are of the order of
// d a layer.
func (c Config) FLOPs() int64 {
	b, slots := c.Base, int64(c.Slots())
	n := 2 * int64(b.VocabSize) * int64(b.DModel)
	for l := range b.NLayer {
		runs := int64(1)
		if l < c.NumEncoderLayers {
			runs = slots
		}
		n += runs * layerFLOPs(b)
	}
	if c.Plain() {
		return n
	}
	r := c.Router
	values := int64(r.Dim * len(r.HalfLives))
	decision := 2 * int64(r.NumEncoders) * values
	if c.Fusion == FuseWeights {
		for _, t := range c.EncoderTensors(0) {
			decision += 2 * int64(r.EncodersPerToken) * int64(t.Elements())
		}
	} else {
		dim, d := int64(c.AggregatorDim), int64(b.DModel)
		n += 2*dim*d + slots*(2*dim+4)*d
	}
	switch r.Granularity {
	case router.PerToken:
		n += decision
	case router.PerChunk:
		n += decision / int64(r.ChunkLength)
	}
	return n + 3*values
}

// layerFLOPs counts the matrices and the scan of one layer.
func layerFLOPs(b mamba.Config) int64 {
	var n int64
	for _, t := range b.LayerTensors() {
		if strings.HasSuffix(t.Name, "_proj.weight") || strings.HasSuffix(t.Name, "conv1d.weight") {
			n += 2 * int64(t.Elements())
		}
	}
	perState := int64(7)
	if b.Kind == mamba.Mamba2 {
		perState = 5
	}
	return n + perState*int64(b.DInner())*int64(b.DState)
}

// MemoryBytes returns the size of the weights that a token meets, as they are held
// in memory at a precision: the core and k of the E encoders, int8 with its scales.
// States and buffers of the computation are not counted.
func (c Config) MemoryBytes(p Precision) int64 {
	var n int64
	for _, t := range c.CoreTensors() {
		n += heldBytes(t, p)
	}
	if c.Base.TieWordEmbedding && p == Int8 { // the head is a matrix of its own then
		n += heldBytes(TensorSpec{Name: headName, Shape: []int{c.Base.VocabSize, c.Base.DModel}}, p)
	}
	if c.Plain() {
		return n
	}
	k := int64(c.Router.EncodersPerToken)
	if c.Fusion == FuseWeights { // merged in f32, and the result is one more
		p, k = F32, k+1
	}
	for _, t := range c.EncoderTensors(0) {
		n += k * heldBytes(t, p)
	}
	return n
}

func heldBytes(t TensorSpec, p Precision) int64 {
	dtype := p.Stored(t.Name)
	n := int64(t.Elements()) * int64(dtype.Size())
	if dtype == dtypes.Int8 {
		n += 4 * int64(t.Shape[0])
	}
	return n
}
