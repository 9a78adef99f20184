package mamba

// TensorSpec names a tensor of a checkpoint and gives the shape that the
// configuration demands. Names and shapes are those of transformers.
type TensorSpec struct {
	Name  string
	Shape []int
}

// Elements returns the number of values that the tensor holds.
func (t TensorSpec) Elements() int {
	n := 1
	for _, dim := range t.Shape {
		n *= dim
	}
	return n
}

// LayerTensors lists the tensors of one layer, named within the layer
// ("norm.weight", "mixer.in_proj.weight", …), in the order of the forward pass.
// Linear weights are [out, in]; the convolution's is [channels, 1, K]. The norms
// that Falcon adds on B, C and delta have no weights.
func (c Config) LayerTensors() []TensorSpec {
	d, di := c.DModel, c.DInner()
	specs := []TensorSpec{
		{"norm.weight", []int{d}},
		{"mixer.in_proj.weight", []int{c.InProjDim(), d}},
	}
	if c.UseBias {
		specs = append(specs, TensorSpec{"mixer.in_proj.bias", []int{c.InProjDim()}})
	}
	specs = append(specs, TensorSpec{"mixer.conv1d.weight", []int{c.ConvDim(), 1, c.DConv}})
	if c.UseConvBias {
		specs = append(specs, TensorSpec{"mixer.conv1d.bias", []int{c.ConvDim()}})
	}
	specs = append(specs, c.ssmTensors()...)
	specs = append(specs, TensorSpec{"mixer.out_proj.weight", []int{d, di}})
	if c.UseBias {
		specs = append(specs, TensorSpec{"mixer.out_proj.bias", []int{d}})
	}
	return specs
}

// ssmTensors lists what lies between the convolution and out_proj.
func (c Config) ssmTensors() []TensorSpec {
	di := c.DInner()
	if c.Kind != Mamba2 {
		return []TensorSpec{
			{"mixer.x_proj.weight", []int{c.DTRank + 2*c.DState, di}},
			{"mixer.dt_proj.weight", []int{di, c.DTRank}},
			{"mixer.dt_proj.bias", []int{di}},
			{"mixer.A_log", []int{di, c.DState}},
			{"mixer.D", []int{di}},
		}
	}
	specs := []TensorSpec{
		{"mixer.dt_bias", []int{c.NHeads}},
		{"mixer.A_log", []int{c.NHeads}},
		{"mixer.D", []int{c.NHeads}},
	}
	if c.RMSNorm {
		specs = append(specs, TensorSpec{"mixer.norm.weight", []int{di}})
	}
	return specs
}

// OuterTensors lists the tensors outside the layers by their full names: the
// embedding [V, d], the final norm [d] and, unless it is tied to the embedding,
// the head [V, d].
func (c Config) OuterTensors() []TensorSpec {
	specs := []TensorSpec{
		{"backbone.embeddings.weight", []int{c.VocabSize, c.DModel}},
		{"backbone.norm_f.weight", []int{c.DModel}},
	}
	if !c.TieWordEmbedding {
		specs = append(specs, TensorSpec{"lm_head.weight", []int{c.VocabSize, c.DModel}})
	}
	return specs
}
