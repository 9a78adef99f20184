package mamba

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/mamba-encoder-swarm/mes/internal/backend"
	"github.com/mamba-encoder-swarm/mes/internal/kernel"
)

// hasKernel reports whether the graph of x may call our kernels: the back end has
// them, and no form is asked for by name, as training does, since they have no
// gradient.
func (c Config) hasKernel(x *Node) bool {
	return c.ScanForm == ScanDefault && backend.HasKernels(x.Graph().Backend())
}

// scanKernel is selectiveScan in one pass over time.
func scanKernel(h, delta, dx, A, Bt, Ct *Node) (y, last *Node) {
	out := backend.Call(kernel.Scan1, []shapes.Shape{dx.Shape(), h.Shape()}, h, delta, dx, A, Bt, Ct)
	return out[0], out[1]
}

// fitsScan2 reports whether a head of P channels with N states is within the
// kernel's limits.
func fitsScan2(P, N int) bool {
	up := func(n, to int) int { return (n + to - 1) / to * to }
	return N <= kernel.MaxStates && up(P, 16)*up(N, 4) <= kernel.MaxHead
}

// ssdKernel is ssd, and ssdStep, in one pass over time.
func ssdKernel(h, dA, dx, Bt, Ct *Node) (y, last *Node) {
	out := backend.Call(kernel.Scan2, []shapes.Shape{dx.Shape(), h.Shape()}, h, dA, dx, Bt, Ct)
	d := dx.Shape().Dimensions
	return Reshape(out[0], d[0], d[1], d[2]*d[3]), out[1]
}

// fitsProduct reports whether productKernel multiplies x with weight: int8 and few
// vectors, where the time goes into reading the weights.
func fitsProduct(x, weight *Node) bool {
	d := x.Shape().Dimensions
	return x.DType() == dtypes.Float32 && weight.Rank() == 2 && x.Shape().Size() <= kernel.MaxVectors*d[len(d)-1] &&
		weight.DType() == dtypes.Int8
}

// productKernel is matmul with the scales of the rows.
func productKernel(x, weight, scale *Node) *Node {
	d := append([]int{}, x.Shape().Dimensions...)
	in, out := d[len(d)-1], weight.Shape().Dimensions[0]
	vectors := x.Shape().Size() / in
	y := backend.Call(kernel.Product, []shapes.Shape{shapes.Make(dtypes.Float32, vectors, out)}, Reshape(x, vectors, in), weight, scale)
	d[len(d)-1] = out
	return Reshape(y[0], d...)
}

// convKernel is what conv returns as y.
func (c Config) convKernel(w Weights, proj *Node, first int, state *Node, span Span) *Node {
	g, C := proj.Graph(), c.ConvDim()
	B, T := proj.Shape().Dimensions[0], proj.Shape().Dimensions[1]
	mask, bias := span.Mask, Zeros(g, shapes.Make(dtypes.Float32, C))
	if mask == nil {
		mask = Ones(g, shapes.Make(dtypes.Float32, B, T))
	}
	if c.UseConvBias {
		bias = w("conv1d.bias")
	}
	return backend.Call(kernel.Conv, []shapes.Shape{shapes.Make(dtypes.Float32, B, T, C)},
		proj, Const(g, int32(first)), mask, state, w("conv1d.weight"), bias)[0]
}

// fitsLayers reports whether layersKernel computes layers [from, to) over x [B, T, d]:
// one token of one text, where much of the time would go into the way from one small
// operation to the next.
func (c Config) fitsLayers(layer func(int) Weights, x *Node, from, to int, span Span) bool {
	if c.UseBias || from == to || x.Shape().Size() != c.DModel || span != (Span{}) || x.DType() != dtypes.Float32 ||
		c.narrow(x) != x || !c.hasKernel(x) || c.DConv > kernel.MaxTaps {
		return false
	}
	if c.Kind == Mamba2 {
		return true
	}
	for l := from; l < to; l++ {
		for _, name := range []string{"mixer.x_proj.weight", "mixer.dt_proj.weight"} {
			if layer(l)(name).DType() == dtypes.Int8 {
				return false
			}
		}
	}
	return c.DState <= kernel.MaxStates
}

// layersKernel is Block for one token, layer after layer.
func (c Config) layersKernel(layer func(int) Weights, x *Node, from, to int, states []State) (*Node, []State) {
	target, settings := c.layerSettings()
	in, results := []*Node{x, Const(x.Graph(), settings)}, []shapes.Shape{x.Shape()}
	for l := from; l < to; l++ {
		s := states[l-from]
		in = append(in, c.layerInputs(layer(l), s)...)
		results = append(results, s.Conv.Shape(), s.SSM.Shape())
	}
	out := backend.Call(target, results, in...)
	next := make([]State, to-from)
	for i := range next {
		next[i] = State{Conv: out[1+2*i], SSM: out[2+2*i]}
	}
	return out[0], next
}

// layerSettings gives the kernel of a layer and what it is told once.
func (c Config) layerSettings() (target string, settings []float32) {
	eps := float32(c.NormEps)
	switch c.Kind {
	case Mamba2:
		size, first := 0, float32(0)
		if c.RMSNorm {
			size = c.normSize()
		}
		if c.RMSNorm && c.NormBeforeGate {
			first = 1
		}
		low, high := c.TimeStepLimit[0], min(c.TimeStepLimit[1], math.MaxFloat32)
		return kernel.Layers2, []float32{eps, float32(low), float32(high), float32(size), first}
	case Falcon:
		return kernel.Layers1, []float32{eps, float32(c.MixerNormEps)}
	}
	return kernel.Layers1, []float32{eps, -1}
}

// layerInputs lists a layer's tensors and states as its kernel takes them.
func (c Config) layerInputs(w Weights, s State) []*Node {
	g, m := s.SSM.Graph(), w.In("mixer.")
	bias, step := Zeros(g, shapes.Make(dtypes.Float32, c.ConvDim())), "dt_proj.bias"
	if c.UseConvBias {
		bias = m("conv1d.bias")
	}
	matrices := []string{"in_proj", "x_proj", "dt_proj", "out_proj"}
	if c.Kind == Mamba2 {
		step, matrices = "dt_bias", []string{"in_proj", "out_proj"}
	}
	in := []*Node{w("norm.weight"), s.Conv, m("conv1d.weight"), bias, m(step), m("A_log"), m("D"), s.SSM}
	if c.Kind == Mamba2 && c.RMSNorm {
		in = append(in, m("norm.weight"))
	} else if c.Kind == Mamba2 {
		in = append(in, Zeros(g, shapes.Make(dtypes.Float32, c.DInner()))) // not read
	}
	for _, name := range matrices {
		weight := m(name + ".weight")
		in = append(in, weight)
		if weight.DType() == dtypes.Int8 {
			in = append(in, m(name+".weight_scale"))
		}
	}
	return in
}
