package mamba

import (
	"math"

	"github.com/gomlx/compute/dtypes"
)

// Kind names the block that a layer uses; its values are HuggingFace's model_type.
type Kind string

// The three blocks of the Mamba family that this package builds.
const (
	Mamba1 Kind = "mamba"        // Gu & Dao 2023: selective scan with diagonal A [di, N]
	Mamba2 Kind = "mamba2"       // Dao & Gu 2024: state space duality, scalar A per head
	Falcon Kind = "falcon_mamba" // Mamba-1 with RMS norms on B, C and delta
)

// Config holds the sizes and switches of a Mamba stack. Field names are the
// papers'; the HuggingFace key is given where it differs. Derived sizes are
// methods. The zero value is not usable.
type Config struct {
	Kind      Kind
	VocabSize int // V, vocab_size, rows of the embedding (padding included)
	DModel    int // d, hidden_size
	NLayer    int // L, num_hidden_layers
	DState    int // N, state_size
	DConv     int // K, conv_kernel
	Expand    int // di = Expand * DModel unless DInnerSize is set

	// DInnerSize is intermediate_size; 0 means Expand * DModel.
	DInnerSize int

	// DTRank is R, time_step_rank (Mamba-1 and Falcon only).
	DTRank int

	NHeads    int // H, num_heads (Mamba-2 only)
	HeadDim   int // P, head_dim (Mamba-2 only)
	NGroups   int // G, n_groups (Mamba-2 only)
	ChunkSize int // Q, chunk_size of the SSD algorithm (Mamba-2 only)

	// TimeStepLimit clamps delta after softplus (Mamba-2 only); {0, +Inf} is no limit.
	TimeStepLimit [2]float64

	// NormGroupSize is the width over which Mamba-2's gated norm takes its mean:
	// di/n_groups in the original implementation and transformers 5; 0 means di, as
	// in transformers 4.
	NormGroupSize int
	// NormBeforeGate normalises y before multiplying by silu(z) (Mamba-2 only).
	NormBeforeGate bool
	// RMSNorm applies the gated norm at all (Mamba-2 only); transformers always does.
	RMSNorm bool

	UseBias     bool // in_proj and out_proj have biases
	UseConvBias bool // conv1d has a bias

	NormEps          float64 // layer_norm_epsilon
	MixerNormEps     float64 // mixer_rms_eps (Falcon only)
	TieWordEmbedding bool    // tie_word_embeddings: the head is the embedding

	// Compute is the type of what an operation hands to the next where much of it is
	// kept for a gradient: bf16 in training on a GPU. Zero means f32. It is no part of
	// config.json.
	Compute dtypes.DType

	// ForwardGPU is for a graph without a gradient on a GPU: it computes large products
	// of f32 from parts in bf16, which a GPU has faster units for (see [splitDot]), and
	// makes fewer copies. It is no part of config.json.
	ForwardGPU bool

	// ScanForm is how Mamba-1 computes a sequence; zero lets the back end choose. Any
	// other value also keeps the rest of the network to GoMLX's own operations, as
	// gradients need it. It is no part of config.json.
	ScanForm Scan
}

// DInner returns di, the width of the mixer.
func (c Config) DInner() int {
	if c.DInnerSize > 0 {
		return c.DInnerSize
	}
	return c.Expand * c.DModel
}

// ConvDim returns the number of channels of the causal convolution: di for
// Mamba-1, di + 2GN for Mamba-2.
func (c Config) ConvDim() int {
	if c.Kind == Mamba2 {
		return c.DInner() + 2*c.NGroups*c.DState
	}
	return c.DInner()
}

// InProjDim returns the rows of in_proj: 2di for Mamba-1 (x and z),
// 2di + 2GN + H for Mamba-2 (z, xBC and dt).
func (c Config) InProjDim() int {
	if c.Kind == Mamba2 {
		return c.DInner() + c.ConvDim() + c.NHeads
	}
	return 2 * c.DInner()
}

// AutoDTRank returns ceil(d/16), the value of time_step_rank "auto".
func AutoDTRank(dModel int) int { return int(math.Ceil(float64(dModel) / 16)) }
