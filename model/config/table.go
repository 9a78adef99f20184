package config

import (
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Limits of sizes: far above any model that exists, and low enough that no product
// of them overflows.
const (
	maxVocab    = 1 << 24
	maxHidden   = 1 << 17
	maxInner    = 1 << 20
	maxLayers   = 1 << 12
	maxState    = 1 << 13
	maxKernel   = 1 << 6
	maxExpand   = 1 << 6
	maxHeads    = 1 << 16
	maxChunk    = 1 << 20
	maxEncoders = 1 << 14
	maxActive   = 1 << 8
	maxLives    = 1 << 4
)

var (
	kinds      = []mamba.Kind{mamba.Mamba1, mamba.Mamba2, mamba.Falcon}
	onlyMamba1 = []mamba.Kind{mamba.Mamba1, mamba.Falcon}
	onlyMamba2 = []mamba.Kind{mamba.Mamba2}
	onlyFalcon = []mamba.Kind{mamba.Falcon}
	unit       = span{hi: 1}
	auto       = stringNode("auto")
	positive   = span{hi: maxFloat, above: true}
)

// huggingFace is the table of every key of a HuggingFace config.json.
var huggingFace = slices.Concat(identity, stack, swarmKeys, storage)

var identity = []field[Config]{
	{key: "architectures", exact: true, preset: &node{}, codec: architectures,
		meaning: "Class that transformers builds; a swarm is always written as MambaSwarmForCausalLM."},
	{key: "model_type", required: true, codec: enum(modelTypes, func(c *Config) *string { return &c.ModelType }),
		meaning: "Kind of model. The original layout of state-spaces/mamba has none."},
	{key: "base_model_type", required: true, swarm: true, codec: enum(kinds, func(c *Config) *mamba.Kind { return &c.Swarm.Base.Kind }),
		meaning: "Block that the layers of the swarm are made of."},
	{key: "auto_map", swarm: true, exact: true, preset: &node{}, codec: autoMap,
		meaning: "Python classes that transformers loads with trust_remote_code; always those that mes writes beside the file."},
}

// stack holds the keys of transformers' MambaConfig, Mamba2Config and
// FalconMambaConfig that say what the network computes.
var stack = []field[Config]{
	{key: "vocab_size", unit: "tokens", codec: integer(1, maxVocab, func(c *Config) *int { return &c.Swarm.Base.VocabSize }),
		meaning: "V, rows of the embedding."},
	{key: "hidden_size", unit: "channels", codec: integer(1, maxHidden, func(c *Config) *int { return &c.Swarm.Base.DModel }),
		meaning: "d, width of the residual stream."},
	{key: "num_hidden_layers", unit: "layers", codec: integer(1, maxLayers, func(c *Config) *int { return &c.Swarm.Base.NLayer }),
		meaning: "L, encoder and decoder layers together."},
	{key: "state_size", unit: "values", codec: integer(1, maxState, func(c *Config) *int { return &c.Swarm.Base.DState }),
		meaning: "N, state per channel."},
	{key: "expand", codec: integer(1, maxExpand, func(c *Config) *int { return &c.Swarm.Base.Expand }),
		meaning: "The mixer's width is expand times hidden_size."},
	{key: "intermediate_size", unit: "channels", bases: onlyMamba1, omit: true, codec: innerSize,
		meaning: "Width of the mixer if it is not expand times hidden_size."},
	{key: "conv_kernel", unit: "tokens", codec: integer(1, maxKernel, func(c *Config) *int { return &c.Swarm.Base.DConv }),
		meaning: "K, window of the causal convolution."},
	{key: "time_step_rank", bases: onlyMamba1, preset: &auto, codec: timeStepRank(func(c *Config) *int { return &c.Swarm.Base.DTRank }),
		meaning: `R, rank of the projection to delta; "auto" is hidden_size / 16, rounded up.`},
	{key: "num_heads", unit: "heads", bases: onlyMamba2, codec: integer(1, maxHeads, func(c *Config) *int { return &c.Swarm.Base.NHeads }),
		meaning: "H; num_heads times head_dim is the mixer's width."},
	{key: "head_dim", unit: "channels", bases: onlyMamba2, codec: integer(1, maxInner, func(c *Config) *int { return &c.Swarm.Base.HeadDim }),
		meaning: "P, channels of a head."},
	{key: "n_groups", unit: "groups", bases: onlyMamba2, codec: integer(1, maxHeads, func(c *Config) *int { return &c.Swarm.Base.NGroups }),
		meaning: "G, groups of heads that share B and C."},
	{key: "chunk_size", unit: "tokens", bases: onlyMamba2, codec: integer(1, maxChunk, func(c *Config) *int { return &c.Swarm.Base.ChunkSize }),
		meaning: "Q, block length of the SSD algorithm; changes speed, not results."},
	{key: "time_step_limit", bases: onlyMamba2, omit: true, codec: timeStepLimit(func(c *Config) *[2]float64 { return &c.Swarm.Base.TimeStepLimit }),
		meaning: "Least and greatest delta after softplus; no limit unless set."},
	{key: "norm_group_size", unit: "channels", bases: onlyMamba2, preset: &node{}, codec: normGroupSize,
		meaning: "Channels over which the gated norm takes its mean: the mixer's width / n_groups unless set. A key of mes; transformers ignores it."},
	{key: "norm_before_gate", bases: onlyMamba2, swarm: true, omit: true, codec: boolean(func(c *Config) *bool { return &c.Swarm.Base.NormBeforeGate }),
		meaning: "The gated norm comes before the gate. Plain models never do; transformers ignores the key."},
	{key: "rms_norm", bases: onlyMamba2, swarm: true, omit: true, codec: boolean(func(c *Config) *bool { return &c.Swarm.Base.RMSNorm }),
		meaning: "The mixer has the gated norm. Plain models always do; transformers ignores the key."},
	{key: "use_bias", codec: boolean(func(c *Config) *bool { return &c.Swarm.Base.UseBias }),
		meaning: "in_proj and out_proj have biases."},
	{key: "use_conv_bias", codec: boolean(func(c *Config) *bool { return &c.Swarm.Base.UseConvBias }),
		meaning: "The convolution has a bias."},
	{key: "hidden_act", codec: constant[Config](stringNode("silu"), stringNode("swish")),
		meaning: "Activation of convolution and gate."},
	{key: "layer_norm_epsilon", codec: number(unit, func(c *Config) *float64 { return &c.Swarm.Base.NormEps }),
		meaning: "Added to the mean square in RMS norms."},
	{key: "mixer_rms_eps", bases: onlyFalcon, codec: number(unit, func(c *Config) *float64 { return &c.Swarm.Base.MixerNormEps }),
		meaning: "The same for Falcon's norms on B, C and delta."},
	{key: "rescale_prenorm_residual", omit: true, codec: boolean(func(c *Config) *bool { return &c.RescaleResidual }),
		meaning: "The out_proj matrices are divided by the root of the number of layers when they are read, as transformers 5 does."},
	{key: "tie_word_embeddings", codec: boolean(func(c *Config) *bool { return &c.Swarm.Base.TieWordEmbedding }),
		meaning: "The head is the embedding; otherwise lm_head.weight."},
}

// swarmKeys are the keys that mamba_swarm adds to those of its base.
var swarmKeys = []field[Config]{
	{key: "num_encoders", unit: "encoders", required: true, swarm: true,
		codec:   integer(1, maxEncoders, func(c *Config) *int { return &c.Swarm.Router.NumEncoders }),
		meaning: "E, versions of the encoder layers."},
	{key: "num_encoders_per_token", unit: "encoders", required: true, swarm: true,
		codec:   integer(1, maxActive, func(c *Config) *int { return &c.Swarm.Router.EncodersPerToken }),
		meaning: "k, encoders that run for a token; at most num_encoders."},
	{key: "num_encoder_layers", unit: "layers", required: true, swarm: true,
		codec:   integer(1, maxLayers, func(c *Config) *int { return &c.Swarm.NumEncoderLayers }),
		meaning: "L_e, the first layers, which every encoder has its own; at most num_hidden_layers. The others are the decoder."},
	{key: "router_granularity", swarm: true,
		codec:   enum([]router.Granularity{router.PerChunk, router.PerToken, router.PerSequence}, func(c *Config) *router.Granularity { return &c.Swarm.Router.Granularity }),
		meaning: "How often the router decides: at every chunk, at every token, or once at router_sequence_position."},
	{key: "router_chunk_length", unit: "tokens", swarm: true,
		codec:   integer(1, maxChunk, func(c *Config) *int { return &c.Swarm.Router.ChunkLength }),
		meaning: "C, tokens between decisions of granularity chunk."},
	{key: "router_sequence_position", unit: "tokens", swarm: true,
		codec:   integer(1, maxChunk, func(c *Config) *int { return &c.Swarm.Router.SequenceDecision }),
		meaning: "Token at which granularity sequence decides; until then the default encoders run."},
	{key: "router_dim", unit: "values", swarm: true,
		codec:   integer(1, maxState, func(c *Config) *int { return &c.Swarm.Router.Dim }),
		meaning: "Width of the router's own embedding of tokens."},
	{key: "router_half_lives", unit: "tokens", swarm: true, codec: halfLives,
		meaning: "Half-lives of the averages of past tokens that the router reads; 1 to 16 of them."},
	{key: "router_temperature", swarm: true,
		codec:   number(positive, func(c *Config) *float64 { return &c.Swarm.Router.Temperature }),
		meaning: "tau, divides the router's logits."},
	{key: "router_hysteresis", swarm: true,
		codec:   number(span{hi: maxFloat}, func(c *Config) *float64 { return &c.Swarm.Router.Hysteresis }),
		meaning: "delta, score by which an outsider must beat an active encoder to replace it."},
	{key: "default_encoders", swarm: true, preset: &node{},
		codec: list(typed("integer", member{"minimum", intNode(0)}), func(c *Config) *[]int { return &c.Swarm.Router.DefaultEncoders },
			func(n node) (int, error) { return readInt(n, 0, maxEncoders-1) }, intNode),
		meaning: "The k encoders that run before the first decision; 0 to k-1 unless set."},
	{key: "encoder_state", swarm: true,
		codec:   enum([]swarm.EncoderState{swarm.Handoff, swarm.Reset}, func(c *Config) *swarm.EncoderState { return &c.Swarm.EncoderState }),
		meaning: "What becomes of a slot's state when its encoder changes: handed on, or zero."},
	{key: "encoder_fusion", swarm: true,
		codec:   enum([]swarm.Fusion{swarm.FuseAttention, swarm.FuseWeights}, func(c *Config) *swarm.Fusion { return &c.Swarm.Fusion }),
		meaning: "How active encoders are combined: their outputs by attention, or their matrices by the router's weights."},
	{key: "aggregator_dim", unit: "values", swarm: true,
		codec:   integer(1, maxState, func(c *Config) *int { return &c.Swarm.AggregatorDim }),
		meaning: "Width of the aggregator's queries and keys."},
	{key: "encoder_domains", swarm: true, omit: true,
		codec:   list(typed("string", member{"minLength", intNode(1)}), func(c *Config) *[]string { return &c.Swarm.Router.Domains }, domainName, stringNode),
		meaning: "What each encoder is for: one name per encoder, or none at all."},
	{key: "grown_from", swarm: true, codec: text(func(c *Config) *string { return &c.GrownFrom }),
		meaning: "Plain model that every encoder is still a copy of; absent once the swarm is trained."},
}

// storage holds the keys about tokens and files.
var storage = []field[Config]{
	{key: "bos_token_id", codec: tokenID(false, func(c *Config) *int { return &c.BOS }),
		meaning: "Token that begins a text; null or -1 is none."},
	{key: "eos_token_id", codec: tokenIDs(false, func(c *Config) *[]int { return &c.EOS }),
		meaning: "Token or tokens that end a text."},
	{key: "pad_token_id", codec: tokenID(false, func(c *Config) *int { return &c.PAD }),
		meaning: "Token that fills a batch; null or -1 is none."},
	{key: "torch_dtype", alias: "dtype", codec: text(func(c *Config) *string { return &c.DType }),
		meaning: "Type of the stored weights: float32, bfloat16, float16. Newer files say dtype."},
	{key: "quantization_config", codec: quantizationCodec,
		meaning: "Low-precision weights in the compressed-tensors format int-quantized; null or absent is none."},
}
