package config

import (
	"fmt"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// This file reads the layout of github.com/state-spaces/mamba (MambaConfig of
// mamba_ssm/models/config_mamba.py, and the arguments of its modules Mamba and
// Mamba2 in ssm_cfg).

// The two values of ssm_cfg.layer.
const (
	layerMamba1 = "Mamba1"
	layerMamba2 = "Mamba2"
)

// original is the table of the top level.
var original = []field[Config]{
	{key: "d_model", unit: "channels", codec: integer(1, maxHidden, func(c *Config) *int { return &c.Swarm.Base.DModel }),
		meaning: "d, width of the residual stream."},
	{key: "n_layer", unit: "layers", codec: integer(1, maxLayers, func(c *Config) *int { return &c.Swarm.Base.NLayer }),
		meaning: "L."},
	{key: "vocab_size", unit: "tokens", exact: true, codec: paddedVocab,
		meaning: "Tokens in use; the embedding has this many rows, rounded up to pad_vocab_size_multiple."},
	{key: "pad_vocab_size_multiple", unit: "tokens", omit: true, codec: integer(1, maxVocab, func(c *Config) *int { return &c.vocabMultiple }),
		meaning: "The embedding's rows are a multiple of this."},
	{key: "ssm_cfg", exact: true, preset: &node{}, codec: ssmCodec,
		meaning: "Arguments of the mixer."},
	{key: "rms_norm", omit: true, codec: constant[Config](boolNode(true)),
		meaning: "Norms between layers are RMS norms; layer norms are not supported."},
	{key: "tie_embeddings", omit: true, codec: boolean(func(c *Config) *bool { return &c.Swarm.Base.TieWordEmbedding }),
		meaning: "The head is the embedding; otherwise lm_head.weight."},
	{key: "d_intermediate", omit: true, codec: constant[Config](intNode(0)),
		meaning: "Width of an MLP after each mixer; not supported."},
	{key: "attn_layer_idx", omit: true, codec: constant[Config](node{kind: kindArray}),
		meaning: "Layers that are attention instead; not supported."},
	{key: "bos_token_id", codec: tokenID(true, func(c *Config) *int { return &c.BOS }), meaning: "Token that begins a text."},
	{key: "eos_token_id", codec: tokenIDs(true, func(c *Config) *[]int { return &c.EOS }), meaning: "Token or tokens that end a text."},
	{key: "pad_token_id", codec: tokenID(true, func(c *Config) *int { return &c.PAD }), meaning: "Token that fills a batch."},
	{key: "torch_dtype", alias: "dtype", codec: text(func(c *Config) *string { return &c.DType }), meaning: "Type of the stored weights."},
}

// ssm is the table of ssm_cfg.
var ssm = []field[Config]{
	{key: "layer", omit: true, codec: enum([]string{layerMamba1, layerMamba2}, func(c *Config) *string { return &c.layer }),
		meaning: "Module that the layers are made of."},
	{key: "d_state", unit: "values", omit: true, codec: integer(1, maxState, func(c *Config) *int { return &c.Swarm.Base.DState }),
		meaning: "N, state per channel."},
	{key: "d_conv", unit: "tokens", omit: true, codec: integer(1, maxKernel, func(c *Config) *int { return &c.Swarm.Base.DConv }),
		meaning: "K, window of the causal convolution."},
	{key: "expand", omit: true, codec: integer(1, maxExpand, func(c *Config) *int { return &c.Swarm.Base.Expand }),
		meaning: "The mixer's width is expand times d_model."},
	{key: "dt_rank", omit: true, bases: onlyMamba1, preset: &auto, codec: timeStepRank(func(c *Config) *int { return &c.Swarm.Base.DTRank }),
		meaning: `R, rank of the projection to delta; "auto" is d_model / 16, rounded up.`},
	{key: "headdim", unit: "channels", omit: true, bases: onlyMamba2, codec: integer(1, maxInner, func(c *Config) *int { return &c.Swarm.Base.HeadDim }),
		meaning: "P, channels of a head."},
	{key: "ngroups", unit: "groups", omit: true, bases: onlyMamba2, codec: integer(1, maxHeads, func(c *Config) *int { return &c.Swarm.Base.NGroups }),
		meaning: "G, groups of heads that share B and C."},
	{key: "d_ssm", omit: true, bases: onlyMamba2, codec: constant[Config](words[0]),
		meaning: "Part of the mixer that has a state; only all of it (null) is supported."},
	{key: "D_has_hdim", omit: true, bases: onlyMamba2, codec: constant[Config](boolNode(false)),
		meaning: "D per channel instead of per head; not supported."},
	{key: "rmsnorm", omit: true, bases: onlyMamba2, codec: boolean(func(c *Config) *bool { return &c.Swarm.Base.RMSNorm }),
		meaning: "The mixer has the gated norm."},
	{key: "norm_before_gate", omit: true, bases: onlyMamba2, codec: boolean(func(c *Config) *bool { return &c.Swarm.Base.NormBeforeGate }),
		meaning: "The gated norm comes before the gate."},
	{key: "dt_limit", omit: true, bases: onlyMamba2, codec: timeStepLimit(func(c *Config) *[2]float64 { return &c.Swarm.Base.TimeStepLimit }),
		meaning: "Least and greatest delta after softplus."},
	{key: "chunk_size", unit: "tokens", omit: true, bases: onlyMamba2, codec: integer(1, maxChunk, func(c *Config) *int { return &c.Swarm.Base.ChunkSize }),
		meaning: "Q, block length of the SSD algorithm; changes speed, not results."},
	{key: "bias", omit: true, codec: boolean(func(c *Config) *bool { return &c.Swarm.Base.UseBias }),
		meaning: "in_proj and out_proj have biases."},
	{key: "conv_bias", omit: true, codec: boolean(func(c *Config) *bool { return &c.Swarm.Base.UseConvBias }),
		meaning: "The convolution has a bias."},
}

// ssmTable returns the keys of ssm_cfg that c's blocks have.
func (c *Config) ssmTable() []field[Config] {
	return slices.DeleteFunc(slices.Clone(ssm), func(f field[Config]) bool {
		return len(f.bases) > 0 && !slices.Contains(f.bases, c.Swarm.Base.Kind)
	})
}

// ssmCodec reads and writes the object ssm_cfg, unknown keys included.
var ssmCodec = codec[Config]{
	schema: typed("object"),
	read: func(c *Config, n node) error {
		if n.kind != kindObject {
			return wrongType("an object", n)
		}
		return faultError(decode(c.ssmTable(), n.members, c))
	},
	write: func(c *Config) (node, bool) {
		old, _ := lookup(c.file, "ssm_cfg")
		d := originalDefaults(c.Swarm.Base.Kind)
		d.Swarm.Base.DModel = c.Swarm.Base.DModel // dt_rank "auto" depends on it
		return node{kind: kindObject, members: encode(c.ssmTable(), old.members, c, d)}, true
	},
}

// paddedVocab keeps the number of tokens in use as long as it pads to the rows of
// the embedding.
var paddedVocab = func() codec[Config] {
	c := integer(1, maxVocab, func(c *Config) *int { return &c.vocab })
	c.write = func(c *Config) (node, bool) {
		if padTo(c.vocab, c.vocabMultiple) == c.Swarm.Base.VocabSize {
			return intNode(c.vocab), true
		}
		return intNode(c.Swarm.Base.VocabSize), true
	}
	return c
}()

func padTo(n, multiple int) int {
	multiple = max(multiple, 1)
	return (n + multiple - 1) / multiple * multiple
}

// startOriginal returns the defaults of an original file, which depend on the
// module that ssm_cfg names.
func startOriginal(members []member) (*Config, error) {
	cfg, _ := lookup(members, "ssm_cfg")
	n, ok := lookup(cfg.members, "layer")
	switch {
	case !ok || n.str() == layerMamba1:
		return originalDefaults(mamba.Mamba1), nil
	case n.str() == layerMamba2:
		return originalDefaults(mamba.Mamba2), nil
	}
	return nil, &FaultError{[]Fault{{"ssm_cfg.layer",
		fmt.Sprintf("%s is not supported; supported: %s, %s", show(n), layerMamba1, layerMamba2)}}}
}

// originalDefaults are those of mamba_ssm 2: its MambaConfig, Mamba and Mamba2.
// Token ids are not part of that layout.
func originalDefaults(kind mamba.Kind) *Config {
	c := defaults(string(kind), kind)
	c.Original, c.layer = true, layerMamba1
	c.BOS, c.EOS, c.PAD = -1, nil, -1
	c.vocab, c.vocabMultiple = 50277, 8
	b := &c.Swarm.Base
	b.VocabSize, b.DModel, b.NLayer, b.TieWordEmbedding = 50280, 2560, 64, true
	if kind == mamba.Mamba2 {
		c.layer = layerMamba2
		b.DState, b.HeadDim, b.NGroups, b.NHeads = 128, 64, 1, 80
	}
	return c
}
