package config

import (
	"math"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/mamba"
)

//go:generate go test -run ^TestSchemaFresh$ -update .

// SchemaFileName is the name of the generated schema in the repository.
const SchemaFileName = "configuration_mamba_swarm.json"

// Schema returns the JSON Schema (draft 2020-12) of config.json: every key with its
// type, default, range, unit and meaning, for files with a model_type and for the
// original layout. Keys that are in no table are allowed. It is made from the
// tables that also read and write the files.
//
// Beyond the standard's words, x-unit is the unit of a number, x-model-types lists
// the model types that have the key, and x-defaults gives its default for each of
// them where they differ.
func Schema() []byte {
	hf := object(
		member{"type", stringNode("object")},
		member{"required", listNode([]string{"model_type"}, stringNode)},
		member{"properties", object(huggingFaceProperties()...)},
		member{"if", object(member{"properties", object(member{"model_type", object(member{"const", stringNode(Swarm)})})})},
		member{"then", object(member{"required", listNode(requiredOfSwarm(), stringNode)})},
	)
	ssmProperties := originalProperties(ssm)
	top := originalProperties(original)
	for i := range top {
		if top[i].key == "ssm_cfg" {
			top[i].value.members = append(top[i].value.members, member{"properties", object(ssmProperties...)})
		}
	}
	old := object(
		member{"type", stringNode("object")},
		member{"required", listNode([]string{"d_model"}, stringNode)},
		member{"properties", object(top...)},
	)
	schema := object(
		member{"$schema", stringNode("https://json-schema.org/draft/2020-12/schema")},
		member{"title", stringNode("config.json of a Mamba model or a Mamba encoder swarm")},
		member{"description", stringNode("Generated from the tables of model/config; do not edit. Infinity stands as {\"__float__\": \"Infinity\"}, as JSON has no such number; files may also hold it bare.")},
		member{"if", object(member{"required", listNode([]string{"model_type"}, stringNode)})},
		member{"then", object(member{"$ref", stringNode("#/$defs/huggingface")})},
		member{"else", object(member{"$ref", stringNode("#/$defs/original")})},
		member{"$defs", object(member{"huggingface", hf}, member{"original", old})},
	)
	return []byte(schema.String() + "\n")
}

func object(members ...member) node { return node{kind: kindObject, members: members} }

// requiredOfSwarm lists the keys that a swarm must have.
func requiredOfSwarm() []string {
	var keys []string
	for _, f := range huggingFace {
		if f.required && f.swarm {
			keys = append(keys, f.key)
		}
	}
	return keys
}

// property describes a field, but for its default.
func (f field[T]) property() node {
	members := append([]member{{"description", stringNode(f.meaning)}}, f.schema...)
	if f.unit != "" {
		members = append(members, member{"x-unit", stringNode(f.unit)})
	}
	return object(members...)
}

// names are the keys under which a field may stand.
func (f field[T]) names() []string {
	if f.alias == "" {
		return []string{f.key}
	}
	return []string{f.key, f.alias}
}

func huggingFaceProperties() []member {
	var out []member
	for _, f := range huggingFace {
		p := f.property()
		if types := f.modelTypes(); len(types) < len(modelTypes) {
			p.members = append(p.members, member{"x-model-types", listNode(types, stringNode)})
		}
		if !f.required {
			p.members = append(p.members, f.defaultMembers()...)
		}
		for _, name := range f.names() {
			out = append(out, member{name, p})
		}
	}
	return out
}

// modelTypes lists the types that have the key. A swarm has what its base has.
func (f field[T]) modelTypes() []string {
	if f.swarm {
		return []string{Swarm}
	}
	var types []string
	for _, k := range kinds {
		if len(f.bases) == 0 || slices.Contains(f.bases, k) {
			types = append(types, string(k))
		}
	}
	return append(types, Swarm)
}

// defaultMembers gives the default, or those of the kinds of block that differ.
func (f field[T]) defaultMembers() []member {
	var each []member
	equal := true
	for _, k := range kinds {
		if len(f.bases) > 0 && !slices.Contains(f.bases, k) {
			continue
		}
		if n, ok := f.defaultOf(defaults(Swarm, k)); ok {
			each = append(each, member{string(k), n})
			equal = equal && n.String() == each[0].value.String()
		}
	}
	switch {
	case len(each) == 0:
		return nil
	case equal:
		return []member{{"default", each[0].value}}
	}
	return []member{{"x-defaults", object(each...)}}
}

// defaultOf writes the field's value in c, if it has one of its own.
func (f field[T]) defaultOf(c any) (node, bool) {
	if f.preset != nil {
		return *f.preset, f.preset.text != ""
	}
	t, ok := c.(*T)
	if !ok {
		return node{}, false
	}
	n, ok := f.write(t)
	return strict(n), ok
}

// originalProperties describes the original layout; its modules have the defaults
// of their own.
func originalProperties(fields []field[Config]) []member {
	var out []member
	for _, f := range fields {
		p := f.property()
		kind := mamba.Mamba1
		if len(f.bases) > 0 {
			kind = f.bases[0]
			p.members = append(p.members, member{"x-layer", stringNode(originalDefaults(kind).layer)})
		}
		first, ok := f.defaultOf(originalDefaults(kind))
		second, both := f.defaultOf(originalDefaults(mamba.Mamba2))
		switch {
		case !ok:
		case len(f.bases) == 0 && f.key != "layer" && both && first.String() != second.String():
			p.members = append(p.members, member{"x-defaults", object(member{layerMamba1, first}, member{layerMamba2, second})})
		default:
			p.members = append(p.members, member{"default", first})
		}
		for _, name := range f.names() {
			out = append(out, member{name, p})
		}
	}
	return out
}

// strict replaces the floats that JSON lacks by transformers' wrapped form.
func strict(n node) node {
	if v, ok := n.float(); ok && n.kind == kindNumber && (math.IsInf(v, 0) || math.IsNaN(v)) {
		return object(member{floatTag, stringNode(n.text)})
	}
	items := slices.Clone(n.items)
	for i := range items {
		items[i] = strict(items[i])
	}
	n.items = items
	return n
}
