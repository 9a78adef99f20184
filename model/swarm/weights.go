package swarm

import (
	"fmt"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// None stands in TensorSpec for "no encoder" and "no layer".
const None = -1

// TensorSpec is a tensor that a checkpoint must hold: its full name, its shape,
// and what it belongs to.
type TensorSpec struct {
	Name    string
	Shape   []int
	Encoder int // encoder that owns it, or None for the core that all share
	Layer   int // index of its layer in the whole stack, or None

	// Plain is its name in the plain model that a swarm grows from, or that one encoder
	// makes with the core; empty where that has none.
	Plain string
	// Stack is its name in a training graph, where the encoders' tensors are one, [E, …].
	Stack string
}

// EncoderOwns reports whether each encoder of a layer has its own copy of the
// named tensor ("mixer.in_proj.weight"; the name within the layer). Everything
// else of an encoder layer exists once, so that the states which slots hand on
// stay in one basis.
func EncoderOwns(kind mamba.Kind, name string) bool {
	switch name {
	case "norm.weight",
		"mixer.in_proj.weight", "mixer.in_proj.bias",
		"mixer.out_proj.weight", "mixer.out_proj.bias":
		return true
	case "mixer.norm.weight":
		return kind == mamba.Mamba2
	}
	return false
}

// Tensors of the core that have a row for each encoder.
const (
	RouterRows     = "backbone.router.proj.weight" // [E, R·half-lives]
	BalanceBias    = "backbone.router.bias"        // [E]; no gradient reaches it
	AggregatorBias = "backbone.aggregator.beta"    // [E]
)

// PerEncoder reports whether a tensor of the core has a row for each encoder.
func PerEncoder(name string) bool {
	return name == RouterRows || name == BalanceBias || name == AggregatorBias
}

// Renumbered returns the name of the same tensor of another encoder.
func Renumbered(name string, from, to int) string {
	return strings.Replace(name, fmt.Sprintf("encoders.%d.", from), fmt.Sprintf("encoders.%d.", to), 1)
}

// LayerTensor returns the full name of a layer's tensor: that of the core when
// encoder is None, else that of the encoder.
func LayerTensor(encoder, layer int, name string) string {
	if encoder == None {
		return fmt.Sprintf("backbone.layers.%d.%s", layer, name)
	}
	return fmt.Sprintf("backbone.encoders.%d.layers.%d.%s", encoder, layer, name)
}

// Tensors lists every tensor that a checkpoint of the model must hold: first the
// core (embedding, layers, final norm, head, router, aggregator), then encoder by
// encoder. A plain model is all core, under the names that transformers uses.
func (c Config) Tensors() []TensorSpec {
	return append(c.CoreTensors(), c.encoders()...)
}

// CoreTensors lists the tensors that all encoders share. With FuseWeights there is
// no aggregator.
func (c Config) CoreTensors() []TensorSpec {
	var specs []TensorSpec
	for _, t := range c.Base.OuterTensors() {
		specs = append(specs, shared(t.Name, t.Shape, None))
	}
	layer := c.Base.LayerTensors()
	for l := range c.Base.NLayer {
		for _, t := range layer {
			if l >= c.NumEncoderLayers || !EncoderOwns(c.Base.Kind, t.Name) {
				specs = append(specs, shared(LayerTensor(None, l, t.Name), t.Shape, l))
			}
		}
	}
	if c.Plain() {
		return specs
	}
	r, d := c.Router, c.Base.DModel
	specs = append(specs,
		ofSwarm("backbone.router.embeddings.weight", c.Base.VocabSize, r.Dim),
		ofSwarm(RouterRows, r.NumEncoders, r.Dim*len(r.HalfLives)),
		ofSwarm(BalanceBias, r.NumEncoders),
	)
	if c.Fusion == FuseWeights {
		return specs
	}
	return append(specs,
		ofSwarm("backbone.aggregator.q.weight", c.AggregatorDim, d),
		ofSwarm("backbone.aggregator.k.weight", c.AggregatorDim, d),
		ofSwarm(AggregatorBias, r.NumEncoders),
		ofSwarm("backbone.aggregator.quality.weight", 1, d),
	)
}

// shared is a tensor of the core that a plain model has too.
func shared(name string, shape []int, layer int) TensorSpec {
	return TensorSpec{Name: name, Shape: shape, Encoder: None, Layer: layer, Plain: name, Stack: name}
}

// ofSwarm is a tensor of the core that only a swarm has.
func ofSwarm(name string, shape ...int) TensorSpec {
	return TensorSpec{Name: name, Shape: shape, Encoder: None, Layer: None, Stack: name}
}

// EncoderTensors lists the tensors that encoder e owns.
func (c Config) EncoderTensors(e int) []TensorSpec {
	var specs []TensorSpec
	layer := c.Base.LayerTensors()
	for l := range c.NumEncoderLayers {
		for _, t := range layer {
			if EncoderOwns(c.Base.Kind, t.Name) {
				specs = append(specs, TensorSpec{Name: LayerTensor(e, l, t.Name), Shape: t.Shape, Encoder: e, Layer: l,
					Plain: LayerTensor(None, l, t.Name), Stack: fmt.Sprintf("backbone.encoders.layers.%d.%s", l, t.Name)})
			}
		}
	}
	return specs
}

func (c Config) encoders() []TensorSpec {
	if c.Plain() {
		return nil
	}
	var specs []TensorSpec
	for e := range c.Router.NumEncoders {
		specs = append(specs, c.EncoderTensors(e)...)
	}
	return specs
}

// Elements returns the number of values that the tensor holds.
func (t TensorSpec) Elements() int {
	return mamba.TensorSpec{Shape: t.Shape}.Elements()
}

// Parameters returns how many values the model holds in all, and how many of them
// a token meets: the core and k of the E encoders.
func (c Config) Parameters() (total, active int) {
	for _, t := range c.CoreTensors() {
		active += t.Elements()
	}
	if c.Plain() {
		return active, active
	}
	encoder := 0
	for _, t := range c.EncoderTensors(0) {
		encoder += t.Elements()
	}
	total = active + c.Router.NumEncoders*encoder
	return total, active + c.Router.EncodersPerToken*encoder
}
