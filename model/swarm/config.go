package swarm

import (
	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
)

// EncoderState says what a slot's state becomes when its encoder changes.
type EncoderState string

// Fusion says how the outputs of the active encoders are combined.
type Fusion string

// Values of encoder_state and encoder_fusion.
const (
	Handoff EncoderState = "handoff" // the next encoder goes on from the slot's state
	Reset   EncoderState = "reset"   // the slot starts again from zero

	FuseAttention Fusion = "attention" // the aggregator mixes k outputs token by token
	FuseWeights   Fusion = "weights"   // the k encoders' matrices are merged once per chunk
)

// Config describes a swarm: a Mamba stack whose first NumEncoderLayers layers
// exist in Router.NumEncoders versions. A plain Mamba has NumEncoderLayers 0 and
// NumEncoders 1.
type Config struct {
	Base             mamba.Config  // the stack; NLayer counts encoder and decoder layers
	Router           router.Config // E, k and how they are chosen
	NumEncoderLayers int           // num_encoder_layers: L_e, 0 to NLayer
	EncoderState     EncoderState  // encoder_state
	Fusion           Fusion        // encoder_fusion
	AggregatorDim    int           // aggregator_dim: rows of the aggregator's q and k, default 64
}

// Plain reports whether the model is an ordinary Mamba without encoders.
func (c Config) Plain() bool { return c.NumEncoderLayers == 0 }

// Dense is the ordinary Mamba of the same layers, without encoders and router.
func (c Config) Dense() Config {
	return Config{Base: c.Base, Router: router.Config{NumEncoders: 1, EncodersPerToken: 1}}
}
