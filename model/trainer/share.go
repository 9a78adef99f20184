package trainer

import (
	"slices"

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
	var all []common
	add := func(pace float64, has func(e int) bool) {
		c, members := common{make([]float32, len(owned)), pace}, 0
		for e := range owned {
			if owned[e] && has(e) {
				c.members[e] = 1
				members++
			}
		}
		if pace > 0 && members > 1 {
			all = append(all, c)
		}
	}
	add(s.All, func(int) bool { return true })
	group := func(e int) string { return t.groups[t.Model.Router.Domains[e]] }
	seen := []string{""} // of no group
	for e := range owned {
		if !owned[e] || slices.Contains(seen, group(e)) {
			continue
		}
		seen = append(seen, group(e))
		add(s.Groups, func(other int) bool { return group(other) == group(e) })
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

// mixed returns sums of the rows of a stack [n, …], weighted by weights [m, n]: [m, …].
func mixed(weights, stack *Node) *Node {
	dims := slices.Clone(stack.Shape().Dimensions)
	sums := Dot(weights, Reshape(stack, dims[0], -1)).Product()
	dims[0] = weights.Shape().Dimensions[0]
	return Reshape(sums, dims...)
}

// paces are the factors of the learning rate of the parts in common.
func (l *learner) paces() []float64 {
	var out []float64
	for _, c := range l.Common {
		out = append(out, c.pace)
	}
	return out
}
