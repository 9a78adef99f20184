package config

import (
	"fmt"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// maxParameters bounds the product of all sizes; the largest models have 1e13.
const maxParameters = 1 << 45

// maxEncoderLayers bounds num_encoders × num_encoder_layers.
const maxEncoderLayers = 1 << 20

// derive fills in what depends on other fields.
func (c *Config) derive() {
	b := &c.Swarm.Base
	if b.DInnerSize == b.Expand*b.DModel {
		b.DInnerSize = 0
	}
	if b.Kind != mamba.Mamba2 && b.DTRank == 0 {
		b.DTRank = mamba.AutoDTRank(b.DModel)
	}
	if c.Original {
		b.VocabSize = padTo(c.vocab, c.vocabMultiple)
	}
	if c.Original && b.Kind == mamba.Mamba2 {
		b.NHeads = b.DInner() / b.HeadDim
	}
	if b.Kind == mamba.Mamba2 && b.NormGroupSize == 0 {
		b.NormGroupSize = usualNormGroup(*b)
	}
	if r := &c.Swarm.Router; r.DefaultEncoders == nil {
		r.DefaultEncoders = firstEncoders(r.EncodersPerToken)
	}
}

func firstEncoders(k int) []int {
	first := make([]int, max(0, min(k, maxActive)))
	for i := range first {
		first[i] = i
	}
	return first
}

// Validate checks every field and how they fit together. All that is wrong is in
// one *FaultError.
func (c *Config) Validate() error {
	if !slices.Contains(modelTypes, c.ModelType) {
		return &FaultError{[]Fault{{"model_type", fmt.Sprintf("%q is not supported; supported: %s", c.ModelType, join(modelTypes))}}}
	}
	if !slices.Contains(kinds, c.Swarm.Base.Kind) {
		return &FaultError{[]Fault{{"base_model_type", fmt.Sprintf("%q is not supported; supported: %s", c.Swarm.Base.Kind, join(kinds))}}}
	}
	faults := c.checkLayout()
	scratch := c.clone()
	for _, f := range c.table() {
		if n, ok := f.write(c); ok {
			faults = append(faults, faultsOf(f.key, f.read(scratch, n))...)
		}
	}
	return faultError(append(faults, c.crossCheck(faults)...))
}

// checkLayout finds what the file's layout cannot express.
func (c *Config) checkLayout() []Fault {
	var faults []Fault
	b := c.Swarm.Base
	if c.ModelType != Swarm && c.ModelType != string(b.Kind) {
		faults = append(faults, Fault{"model_type", fmt.Sprintf("%s does not have the blocks of %s", c.ModelType, b.Kind)})
	}
	if c.ModelType != Swarm && !c.Swarm.Plain() {
		faults = append(faults, Fault{"model_type", fmt.Sprintf("%s cannot have encoders", c.ModelType)})
	}
	if b.Kind == mamba.Mamba2 && c.ModelType != Swarm && !c.Original {
		if b.NormBeforeGate {
			faults = append(faults, Fault{"norm_before_gate", "a plain mamba2 cannot have its norm before the gate; keep the original layout"})
		}
		if !b.RMSNorm {
			faults = append(faults, Fault{"rms_norm", "a plain mamba2 cannot be without the gated norm; keep the original layout"})
		}
	}
	return faults
}

// crossCheck finds fields that do not fit each other, leaving out what follows from
// faults found before.
func (c *Config) crossCheck(found []Fault) []Fault {
	var faults []Fault
	check := func(key string, also []string, message string) {
		name := c.keyName(key)
		for _, k := range append(also, key) {
			k = c.keyName(k)
			named := func(f Fault) bool { return f.Field == k }
			if slices.ContainsFunc(found, named) || slices.ContainsFunc(faults, named) {
				return
			}
		}
		if message != "" {
			faults = append(faults, Fault{name, message})
		}
	}
	b := c.Swarm.Base
	if b.Kind == mamba.Mamba2 {
		check("num_heads", []string{"head_dim", "hidden_size", "expand"}, headFault(b))
		check("n_groups", []string{"num_heads", "head_dim", "hidden_size", "expand"}, notDividing(b.NGroups, "num_heads", b.NHeads))
		check("norm_group_size", []string{"hidden_size", "expand", "n_groups"}, notDividing(normGroup(b), "the mixer's width", b.DInner()))
	}
	check("hidden_size", []string{"expand", "intermediate_size"}, above(b.DInner(), "the mixer's width", maxInner))
	check("bos_token_id", []string{"vocab_size"}, outside(c.BOS, b.VocabSize))
	for _, id := range c.EOS {
		check("eos_token_id", []string{"vocab_size"}, outside(id, b.VocabSize))
	}
	if c.ModelType == Swarm {
		c.checkSwarm(check)
	}
	if len(found)+len(faults) == 0 {
		check("num_hidden_layers", nil, c.tooLarge())
	}
	return faults
}

func (c *Config) checkSwarm(check func(key string, also []string, message string)) {
	r, s := c.Swarm.Router, c.Swarm
	var message string
	if r.EncodersPerToken > r.NumEncoders {
		message = fmt.Sprintf("%d exceeds num_encoders %d", r.EncodersPerToken, r.NumEncoders)
	}
	check("num_encoders_per_token", []string{"num_encoders"}, message)
	message = ""
	if s.NumEncoderLayers > s.Base.NLayer {
		message = fmt.Sprintf("%d exceeds num_hidden_layers %d", s.NumEncoderLayers, s.Base.NLayer)
	}
	check("num_encoder_layers", []string{"num_hidden_layers"}, message)
	check("num_encoders", []string{"num_encoder_layers"},
		above(r.NumEncoders*s.NumEncoderLayers, "num_encoders × num_encoder_layers", maxEncoderLayers))
	check("default_encoders", []string{"num_encoders", "num_encoders_per_token"}, c.defaultEncodersFault())
	message = ""
	if n := len(r.Domains); n != 0 && n != r.NumEncoders {
		message = fmt.Sprintf("has %d names for num_encoders %d", n, r.NumEncoders)
	}
	check("encoder_domains", []string{"num_encoders"}, message)
}

func (c *Config) defaultEncodersFault() string {
	r := c.Swarm.Router
	if len(r.DefaultEncoders) != r.EncodersPerToken {
		return fmt.Sprintf("has %d encoders for num_encoders_per_token %d", len(r.DefaultEncoders), r.EncodersPerToken)
	}
	for i, e := range r.DefaultEncoders {
		if e < 0 || e >= r.NumEncoders {
			return fmt.Sprintf("encoder %d does not exist, num_encoders is %d", e, r.NumEncoders)
		}
		if slices.Contains(r.DefaultEncoders[:i], e) {
			return fmt.Sprintf("names encoder %d twice", e)
		}
	}
	return ""
}

func headFault(b mamba.Config) string {
	if b.NHeads*b.HeadDim == b.DInner() {
		return ""
	}
	return fmt.Sprintf("%d heads of %d channels are not the mixer's width %d", b.NHeads, b.HeadDim, b.DInner())
}

func notDividing(n int, what string, whole int) string {
	if n > 0 && whole%n == 0 {
		return ""
	}
	return fmt.Sprintf("%d does not divide %s %d", n, what, whole)
}

func above(n int, what string, limit int) string {
	if n <= limit {
		return ""
	}
	return fmt.Sprintf("%s is %d, more than %d", what, n, limit)
}

func outside(id, vocab int) string {
	if id < vocab {
		return ""
	}
	return fmt.Sprintf("%d is not below vocab_size %d", id, vocab)
}

// tooLarge counts parameters in floating point, as integers could overflow.
func (c *Config) tooLarge() string {
	b := c.Swarm.Base
	layer := 0.0
	for _, t := range b.LayerTensors() {
		layer += float64(t.Elements())
	}
	outer := float64(b.VocabSize) * float64(b.DModel)
	layers := float64(b.NLayer)
	if !c.Swarm.Plain() {
		layers += float64(c.Swarm.NumEncoderLayers) * float64(c.Swarm.Router.NumEncoders-1)
	}
	if total := 2*outer + layers*layer; total > maxParameters {
		return fmt.Sprintf("the sizes make a model of %.2g parameters, more than %.2g", total, float64(maxParameters))
	}
	return ""
}

// keyName returns what the file at hand calls one of HuggingFace's keys.
func (c *Config) keyName(key string) string {
	if name, ok := originalNames[key]; ok && c.Original {
		return name
	}
	return key
}

var originalNames = map[string]string{
	"hidden_size":       "d_model",
	"num_hidden_layers": "n_layer",
	"expand":            "ssm_cfg.expand",
	"num_heads":         "ssm_cfg.headdim",
	"head_dim":          "ssm_cfg.headdim",
	"n_groups":          "ssm_cfg.ngroups",
}
