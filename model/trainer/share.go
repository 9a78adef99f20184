package trainer

import (
	"slices"
	"strings"

	. "github.com/gomlx/gomlx/core/graph"
)

// Share says how specialists learn together in a joint phase. Each tensor that one of
// them owns is then the sum of a part of all specialists, a part of those whose domains
// are of one group, and a part of its own, and AdamW learns each part from the gradients of all
// encoders that have it (regularised multi-task learning, Evgeniou and Pontil 2004: the weights
// of a task are w_0 + v_t). Only the sum is kept: a model that was trained so is like any other.
type Share struct {
	All    float64 `json:"all,omitzero"`    // learning rate of the part of all, relative to the phase's; 0 is no such part
	Groups float64 `json:"groups,omitzero"` // of the parts of the groups with two specialists or more; 0 is none
}

// on reports whether there is a part that encoders have in common.
func (s Share) on() bool { return s.All > 0 || s.Groups > 0 }

// common is a part that some encoders have in common.
type common struct {
	members []float32 // [E], 1 for each that has it, else 0
	pace    float64   // factor of the learning rate
}

// commonParts lists the parts of a leg's specialists; owned are the specialists.
func (t *Trainer) commonParts(s Share, owned []bool) []common {
	part := func(pace float64, has func(e int) bool) (c common, members int) {
		c = common{make([]float32, len(owned)), pace}
		for e := range owned {
			if owned[e] && has(e) {
				c.members[e] = 1
				members++
			}
		}
		return c, members
	}
	var all []common
	if c, n := part(s.All, func(int) bool { return true }); s.All > 0 && n > 1 {
		all = append(all, c)
	}
	if s.Groups == 0 {
		return all
	}
	group := func(e int) string { return t.groups[t.Model.Router.Domains[e]] }
	var seen []string
	for e := range owned {
		name := ""
		if owned[e] {
			name = group(e)
		}
		if name == "" || slices.Contains(seen, name) {
			continue
		}
		seen = append(seen, name)
		if c, n := part(s.Groups, func(e int) bool { return group(e) == name }); n > 1 {
			all = append(all, c)
		}
	}
	return all
}

// alike gives all specialists the first one's tensors, so that they differ by what each
// learns alone.
func (t *Trainer) alike() {
	list := t.specialists()
	if len(list) == 0 {
		return
	}
	first := t.Model.EncoderTensors(int(list[0]))
	for _, e := range list[1:] {
		for i, spec := range t.Model.EncoderTensors(int(e)) {
			t.params[spec.Name] = t.params[first[i].Name]
		}
	}
}

// inCommon is before the name of a stack, for the steps that its parts in common take:
// [G, …], a row for each part.
const inCommon = "common/"

// commonNames lists the steps in common that a learner's optimizer makes.
func (l *learner) commonNames() []string {
	var names []string
	for _, name := range l.trainable {
		if stacked(name) && len(l.Common) > 0 {
			names = append(names, inCommon+name)
		}
	}
	return names
}

// membership is [G, E], 1 where a part is an encoder's too.
func (l *learner) membership(g *Graph) *Node {
	rows := make([][]float32, len(l.Common))
	for i, c := range l.Common {
		rows[i] = c.members
	}
	return Const(g, rows)
}

// gather adds up the rows [E, …] of a stack by the parts that encoders have in common.
func (l *learner) gather(stack *Node) *Node {
	dims := stack.Shape().Dimensions
	flat := Reshape(stack, dims[0], -1)
	sums := Dot(l.membership(stack.Graph()), flat).Product()
	return Reshape(sums, append([]int{len(l.Common)}, dims[1:]...)...)
}

// handOut gives each encoder the sum of the rows [G, …] of its parts.
func (l *learner) handOut(parts *Node) *Node {
	dims := parts.Shape().Dimensions
	flat := Reshape(parts, dims[0], -1)
	sums := Dot(Transpose(l.membership(parts.Graph()), 0, 1), flat).Product()
	return Reshape(sums, append([]int{len(l.owned)}, dims[1:]...)...)
}

// paces are the factors of the learning rate of the parts in common.
func (l *learner) paces() []float64 {
	var out []float64
	for _, c := range l.Common {
		out = append(out, c.pace)
	}
	return out
}

// ofCommon reports whether a name is that of steps in common, and cuts what says so.
func ofCommon(name string) (stack string, ok bool) { return strings.CutPrefix(name, inCommon) }
