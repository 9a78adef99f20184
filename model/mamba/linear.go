package mamba

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Weights gives the graph node of a tensor by its name within a layer or model,
// for example "mixer.in_proj.weight". It panics if there is no such tensor.
type Weights func(name string) *Node

// In returns the weights below a prefix such as "layers.3.".
func (w Weights) In(prefix string) Weights {
	return func(name string) *Node { return w(prefix + name) }
}

// linear computes x·Wᵀ (+ b) with W = name.weight [out, in].
//
// The matrix may be stored in f32, bf16, or int8 with one scale per row
// (name.weight_scale [out, 1]). Low precision is widened inside the product: XLA
// fuses the conversion into a matrix-vector product, so decoding reads only the
// stored bytes; with several rows one matrix at a time is widened in memory.
//
// x: [..., in], f32 or bf16. Returns [..., out] in the same type. W may be a stack
// [E, out, in], as may the bias; x is then [E, n, in].
func (c Config) linear(w Weights, name string, x *Node, bias bool) *Node {
	weight := w(name + ".weight")
	var scale *Node
	if weight.DType() == dtypes.Int8 {
		scale = w(name + ".weight_scale")
	}
	var y *Node
	if c.hasKernel(x) && fitsProduct(x, weight) {
		y = productKernel(x, weight, scale)
	} else {
		y = c.matmul(x, weight)
		if scale != nil {
			y = Mul(y, alignRight(scale, y.Rank()))
		}
	}
	if bias {
		y = Add(y, alignVector(ConvertDType(w(name+".bias"), y.DType()), y.Rank()))
	}
	return y
}

// matmul contracts the last axis of x [..., in] with weight [out, in] and returns
// [..., out] in the type of x.
func (c Config) matmul(x, weight *Node) *Node {
	if weight.Rank() == 3 {
		return c.dot(x, []int{2}, []int{0}, ConvertDType(weight, x.DType()), []int{2}, []int{0})
	}
	dims := x.Shape().Dimensions
	in := dims[len(dims)-1]
	rows := Reshape(x, x.Shape().Size()/in, in) // [rows, in]
	y := c.product(rows, weight)                // [rows, out]
	return Reshape(y, append(append([]int{}, dims[:len(dims)-1]...), weight.Shape().Dimensions[0])...)
}

// alignRight prepends axes of size 1 to a vector, up to the given rank.
func alignRight(v *Node, rank int) *Node {
	dims := make([]int, rank)
	for i := range dims {
		dims[i] = 1
	}
	dims[rank-1] = v.Shape().Size()
	return Reshape(v, dims...)
}

// alignVector is alignRight for a layer's vector [n], or for a stack of them [E, n]
// beside values [E, ..., n].
func alignVector(v *Node, rank int) *Node {
	if v.Rank() == 1 {
		return alignRight(v, rank)
	}
	dims := make([]int, rank)
	for i := range dims {
		dims[i] = 1
	}
	dims[0], dims[rank-1] = v.Shape().Dimensions[0], v.Shape().Dimensions[1]
	return Reshape(v, dims...)
}

// rmsNormalize divides x by the root mean square over its last axis.
// x: [..., n]. Returns the same shape.
func rmsNormalize(x *Node, eps float64) *Node {
	meanSquare := ReduceAndKeep(Square(x), ReduceMean, -1)
	return Div(x, Sqrt(AddScalar(meanSquare, eps)))
}

// RMSNormalize divides x [..., d] by its root mean square over the last axis, with
// the model's epsilon and no weight.
func (c Config) RMSNormalize(x *Node) *Node { return rmsNormalize(x, c.NormEps) }

// RMSNorm is root mean square normalisation with a weight [d] (Zhang & Sennrich
// 2019). x: [..., d]. Returns the same shape.
func RMSNorm(x, weight *Node, eps float64) *Node {
	x.AssertDims(append(free(x.Rank()-1), weight.Shape().Size())...)
	return Mul(rmsNormalize(x, eps), alignRight(weight, x.Rank()))
}

// free returns n unchecked axes for AssertDims.
func free(n int) []int {
	dims := make([]int, n)
	for i := range dims {
		dims[i] = -1
	}
	return dims
}

// silu is x·sigmoid(x).
func silu(x *Node) *Node { return Mul(x, Sigmoid(x)) }

// softplus is log(1 + e^x), stable for large |x|.
func softplus(x *Node) *Node {
	return Add(Max(x, ZerosLike(x)), Log1P(Exp(Neg(Abs(x)))))
}

// part cuts [from, to) of the last axis.
func part(x *Node, from, to int) *Node {
	spec := make([]SliceAxisSpec, x.Rank())
	for i := range spec {
		spec[i] = AxisRange()
	}
	spec[x.Rank()-1] = AxisRange(from, to)
	return Slice(x, spec...)
}

// narrow converts to the type in which the configuration keeps values between
// operations.
func (c Config) narrow(x *Node) *Node {
	if c.Compute == dtypes.InvalidDType || c.Compute == x.DType() {
		return x
	}
	return ConvertDType(x, c.Compute)
}

// widen converts to f32.
func widen(x *Node) *Node {
	if x.DType() == dtypes.Float32 {
		return x
	}
	return ConvertDType(x, dtypes.Float32)
}
