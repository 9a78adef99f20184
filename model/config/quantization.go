package config

import "fmt"

// Quantization says how the weight matrices are stored: in the compressed-tensors
// format int-quantized, that is, I8 "weight" [out, in] with one symmetric scale per
// row in "weight_scale" [out, 1], and activations left alone.
type Quantization struct {
	Format  string   // int-quantized
	Bits    int      // 8
	Targets []string // kinds or names of the quantised modules: "Linear"
	Ignore  []string // modules that are not quantised: "lm_head"
}

// The only quantisation that is supported.
const (
	quantMethod = "compressed-tensors"
	quantFormat = "int-quantized"
	quantHint   = "supported: compressed-tensors, format int-quantized, weights of 8 bits, symmetric, one scale per channel"
)

// NewQuantization returns the description of weight-only int8 of all linear layers
// but the ignored ones.
func NewQuantization(ignore ...string) *Quantization {
	return &Quantization{Format: quantFormat, Bits: 8, Targets: []string{"Linear"}, Ignore: ignore}
}

// quantizationCodec is that of quantization_config.
var quantizationCodec = codec[Config]{
	schema: []member{{"type", listNode([]string{"object", "null"}, stringNode)}},
	read: func(c *Config, n node) error {
		c.Quantization = nil
		switch n.kind {
		case kindNull:
			return nil
		case kindObject:
		default:
			return wrongType("an object", n)
		}
		q, err := readQuantization(n.members)
		if err == nil {
			c.Quantization = q
		}
		return err
	},
	write: func(c *Config) (node, bool) {
		if c.Quantization == nil {
			return node{}, false
		}
		return c.Quantization.node(), true
	},
}

func readQuantization(members []member) (*Quantization, error) {
	var faults []Fault
	want := func(members []member, path, key, value string) {
		if n, ok := lookup(members, key); !ok || n.str() != value {
			faults = append(faults, Fault{path + key, fmt.Sprintf("%s is not supported; %s", showOr(n, ok), quantHint)})
		}
	}
	want(members, "", "quant_method", quantMethod)
	want(members, "", "format", quantFormat)
	if len(faults) > 0 { // the rest has another form
		return nil, &FaultError{faults}
	}
	q := &Quantization{Format: quantFormat, Bits: 8}
	if n, ok := lookup(members, "ignore"); ok {
		q.Ignore = stringsOf(n)
	}
	groups, _ := lookup(members, "config_groups")
	if len(groups.members) == 0 {
		return nil, &FaultError{[]Fault{{"config_groups", "missing; " + quantHint}}}
	}
	for _, g := range groups.members {
		faults = append(faults, checkGroup("config_groups."+g.key+".", g.value.members)...)
		targets, _ := lookup(g.value.members, "targets")
		q.Targets = append(q.Targets, stringsOf(targets)...)
	}
	return q, faultError(faults)
}

// checkGroup demands symmetric 8-bit integer weights with a scale per channel.
// Keys that are absent have the defaults of compressed_tensors' QuantizationArgs.
func checkGroup(path string, group []member) []Fault {
	var faults []Fault
	weights, _ := lookup(group, "weights")
	if weights.kind != kindObject {
		return []Fault{{path + "weights", "missing; " + quantHint}}
	}
	for _, key := range []string{"input_activations", "output_activations"} {
		if n, ok := lookup(group, key); ok && n.kind != kindNull {
			faults = append(faults, Fault{path + key, "quantised activations are not supported; " + quantHint})
		}
	}
	for _, rule := range []struct {
		key      string
		value    node
		optional bool
	}{
		{"num_bits", intNode(8), true},
		{"type", stringNode("int"), true},
		{"symmetric", boolNode(true), true},
		{"dynamic", boolNode(false), true},
		{"strategy", stringNode("channel"), false},
	} {
		n, ok := lookup(weights.members, rule.key)
		if !ok && rule.optional || n.String() == rule.value.String() {
			continue
		}
		faults = append(faults, Fault{path + "weights." + rule.key, fmt.Sprintf("%s is not supported; %s", showOr(n, ok), quantHint)})
	}
	return faults
}

func showOr(n node, ok bool) string {
	if !ok {
		return "nothing"
	}
	return show(n)
}

func stringsOf(n node) []string {
	var out []string
	for _, item := range n.items {
		out = append(out, item.str())
	}
	return out
}

// node writes the description as compressed_tensors' QuantizationConfig reads it.
func (q *Quantization) node() node {
	object := func(members ...member) node { return node{kind: kindObject, members: members} }
	weights := object(
		member{"num_bits", intNode(q.Bits)}, member{"type", stringNode("int")},
		member{"symmetric", boolNode(true)}, member{"strategy", stringNode("channel")},
		member{"dynamic", boolNode(false)})
	// Without the format in the group, the library takes the one for packed integers.
	group := object(
		member{"targets", listNode(q.Targets, stringNode)}, member{"format", stringNode(q.Format)},
		member{"weights", weights},
		member{"input_activations", words[0]}, member{"output_activations", words[0]})
	return object(
		member{"quant_method", stringNode(quantMethod)}, member{"format", stringNode(q.Format)},
		member{"quantization_status", stringNode("compressed")},
		member{"config_groups", object(member{"group_0", group})},
		member{"ignore", listNode(q.Ignore, stringNode)})
}
