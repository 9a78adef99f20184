package config

import (
	"fmt"
	"math"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

// This file holds the codecs of single keys.

var classOf = map[string]string{
	string(mamba.Mamba1): "MambaForCausalLM",
	string(mamba.Mamba2): "Mamba2ForCausalLM",
	string(mamba.Falcon): "FalconMambaForCausalLM",
	Swarm:                "MambaSwarmForCausalLM",
}

// architectures keeps the classes of a plain file and names our own otherwise.
var architectures = codec[Config]{
	schema: []member{{"type", listNode([]string{"array", "null"}, stringNode)}, {"items", object(typed("string")...)}},
	read: func(c *Config, n node) error {
		if n.kind != kindArray && n.kind != kindNull {
			return wrongType("a list of class names", n)
		}
		c.architectures = nil
		for _, item := range n.items {
			if item.kind != kindString {
				return wrongType("a list of class names", item)
			}
			c.architectures = append(c.architectures, item.str())
		}
		return nil
	},
	write: func(c *Config) (node, bool) {
		if c.ModelType != Swarm && c.fileTable == c.tableName() && len(c.architectures) > 0 {
			return listNode(c.architectures, stringNode), true
		}
		return listNode([]string{classOf[c.ModelType]}, stringNode), true
	},
}

// Modules of a swarm's Python code, files of the model's folder without ".py".
const (
	ConfigurationModule = "configuration_mamba_swarm"
	ModelingModule      = "modeling_mamba_swarm"
)

// autoMap says which class of these modules each of transformers' Auto classes is.
// What a file says is not kept: code of another origin would not fit.
var autoMap = codec[Config]{
	schema: []member{{"type", listNode([]string{"object", "null"}, stringNode)}},
	read: func(_ *Config, n node) error {
		if n.kind != kindObject && n.kind != kindNull {
			return wrongType("an object", n)
		}
		return nil
	},
	write: func(*Config) (node, bool) {
		return object(
			member{"AutoConfig", stringNode(ConfigurationModule + ".MambaSwarmConfig")},
			member{"AutoModel", stringNode(ModelingModule + ".MambaSwarmModel")},
			member{"AutoModelForCausalLM", stringNode(ModelingModule + "." + classOf[Swarm])},
		), true
	},
}

// innerSize holds the width as 0 where it is the usual one.
var innerSize = func() codec[Config] {
	c := integer(1, maxInner, func(c *Config) *int { return &c.Swarm.Base.DInnerSize })
	c.write = func(c *Config) (node, bool) {
		b := c.Swarm.Base
		return intNode(b.DInner()), b.DInnerSize != 0 && b.DInnerSize != b.Expand*b.DModel
	}
	return c
}()

// normGroupSize is absent where groups of B and C have one mean each, as in
// mamba_ssm and transformers 5.
var normGroupSize = func() codec[Config] {
	c := integer(1, maxInner, func(c *Config) *int { return &c.Swarm.Base.NormGroupSize })
	c.write = func(c *Config) (node, bool) {
		size := normGroup(c.Swarm.Base)
		return intNode(size), size != usualNormGroup(c.Swarm.Base)
	}
	return c
}()

// normGroup is NormGroupSize with its zero value resolved.
func normGroup(b mamba.Config) int {
	if b.NormGroupSize == 0 {
		return b.DInner()
	}
	return b.NormGroupSize
}

func usualNormGroup(b mamba.Config) int { return b.DInner() / max(b.NGroups, 1) }

// timeStepRank is an integer or "auto", held as 0 until the hidden size is known.
func timeStepRank(at func(*Config) *int) codec[Config] {
	c := integer(1, maxInner, at)
	c.schema = []member{{"oneOf", node{kind: kindArray, items: []node{
		{kind: kindObject, members: c.schema},
		{kind: kindObject, members: []member{{"const", auto}}},
	}}}}
	readNumber := c.read
	c.read = func(c *Config, n node) error {
		if n.kind == kindString && n.str() == "auto" {
			*at(c) = 0
			return nil
		}
		if n.kind != kindNumber {
			return wrongType(`an integer or "auto"`, n)
		}
		return readNumber(c, n)
	}
	c.write = func(c *Config) (node, bool) {
		if rank := *at(c); rank != 0 {
			return intNode(rank), true
		}
		return intNode(mamba.AutoDTRank(c.Swarm.Base.DModel)), true
	}
	return c
}

// floatSchema allows what Python's JSON has and JSON lacks, as transformers wraps it.
var floatSchema = []member{{"anyOf", node{kind: kindArray, items: []node{
	{kind: kindObject, members: typed("number", member{"minimum", floatNode(0)})},
	{kind: kindObject, members: typed("object",
		member{"properties", node{kind: kindObject, members: []member{{floatTag,
			node{kind: kindObject, members: []member{{"const", stringNode("Infinity")}}}}}}},
		member{"required", listNode([]string{floatTag}, stringNode)})},
}}}}

func timeStepLimit(at func(*Config) *[2]float64) codec[Config] {
	return codec[Config]{
		schema: typed("array", member{"items", node{kind: kindObject, members: floatSchema}},
			member{"minItems", intNode(2)}, member{"maxItems", intNode(2)}),
		read: func(c *Config, n node) error {
			if n.kind != kindArray || len(n.items) != 2 {
				return wrongType("a list of two numbers", n)
			}
			delta := span{hi: math.Inf(1)}
			lo, err := delta.read(n.items[0])
			if err != nil {
				return fmt.Errorf("element 0: %w", err)
			}
			hi, err := delta.read(n.items[1])
			if err != nil {
				return fmt.Errorf("element 1: %w", err)
			}
			if lo > hi || math.IsInf(lo, 1) {
				return fmt.Errorf("the least value %v is above the greatest %v", lo, hi)
			}
			*at(c) = [2]float64{lo, hi}
			return nil
		},
		write: func(c *Config) (node, bool) { return listNode(at(c)[:], floatNode), true },
	}
}

// halfLives are 1 to maxLives numbers above 0.
var halfLives = func() codec[Config] {
	c := list(positive.schema(), func(c *Config) *[]float64 { return &c.Swarm.Router.HalfLives }, positive.read, floatNode)
	c.schema = append(c.schema, member{"minItems", intNode(1)}, member{"maxItems", intNode(maxLives)})
	inner := c.read
	c.read = func(c *Config, n node) error {
		if len(n.items) > maxLives || n.kind == kindArray && len(n.items) == 0 {
			return fmt.Errorf("must hold 1 to %d numbers, holds %d", maxLives, len(n.items))
		}
		return inner(c, n)
	}
	return c
}()

func domainName(n node) (string, error) {
	if n.kind != kindString || n.str() == "" {
		return "", wrongType("a name", n)
	}
	return n.str(), nil
}

// clone returns a copy that shares nothing that a caller may change.
func (c *Config) clone() *Config {
	d := *c
	d.EOS = slices.Clone(c.EOS)
	d.Swarm.Router.HalfLives = slices.Clone(c.Swarm.Router.HalfLives)
	d.Swarm.Router.DefaultEncoders = slices.Clone(c.Swarm.Router.DefaultEncoders)
	d.Swarm.Router.Domains = slices.Clone(c.Swarm.Router.Domains)
	return &d
}
