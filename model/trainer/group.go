package trainer

import (
	"slices"
	"strings"

	. "github.com/gomlx/gomlx/core/graph"
)

// Group names tensors that a phase may learn at a pace, and with a decay, of their own.
type Group string

// The groups. A seed's tensors are all shared, those of a branch all a specialist's.
const (
	Shared      Group = "shared"      // what is of no other group
	Generalist  Group = "generalist"  // owned by encoders that no domain of the data has
	Specialists Group = "specialists" // owned by the other encoders
	Router      Group = "router"
	Aggregator  Group = "aggregator"
)

var allGroups = []Group{Shared, Generalist, Specialists, Router, Aggregator}

// groups lists the groups of a tensor on the device: one for each encoder of a stack,
// else one.
func (c *learnerConfig) groups(name string) []Group {
	switch {
	case c.Model.Plain():
		return []Group{c.Group}
	case strings.HasPrefix(name, "backbone.router."):
		return []Group{Router}
	case strings.HasPrefix(name, "backbone.aggregator."):
		return []Group{Aggregator}
	case !stacked(name):
		return []Group{Shared}
	}
	out := make([]Group, len(c.owned))
	for e := range out {
		out[e] = Generalist
		if c.owned[e] {
			out[e] = Specialists
		}
	}
	return out
}

// stacked reports whether a tensor on the device has a row for each encoder.
func stacked(name string) bool { return strings.HasPrefix(name, "backbone.encoders.layers.") }

// valued gives each of a tensor's groups its value, or otherwise where it has none.
func (c *learnerConfig) valued(name string, of map[Group]float64, otherwise float64) []float64 {
	var out []float64
	for _, group := range c.groups(name) {
		v, ok := of[group]
		if !ok {
			v = otherwise
		}
		out = append(out, v)
	}
	return out
}

// asleep reports whether none of a tensor's groups learns.
func (c *learnerConfig) asleep(name string) bool {
	return slices.Max(c.valued(name, c.Pace, 1)) == 0
}

// specialistsAlone reports whether nothing learns but what specialists own.
func (l *learner) specialistsAlone() bool {
	if slices.ContainsFunc(l.trainable, func(name string) bool { return !stacked(name) }) {
		return false
	}
	for e, awake := range l.awake() {
		if awake > 0 && !l.owned[e] {
			return false
		}
	}
	return true
}

// idle reports whether nothing learns any more.
func (l *learner) idle() bool { return l.specialistsAlone() && slices.Max(l.awake()) == 0 }

// awake has 1 for each encoder that learns, else 0.
func (l *learner) awake() []float32 {
	out := make([]float32, len(l.owned))
	for e, pace := range l.valued("backbone.encoders.layers.", l.Pace, 1) {
		if pace > 0 && !l.frozen[e] {
			out[e] = 1
		}
	}
	return out
}

// scaled multiplies x with a value, or each row of a stack with its encoder's.
func scaled(x *Node, values []float64) *Node {
	if slices.Max(values) == slices.Min(values) {
		return MulScalar(x, values[0])
	}
	column := make([]float32, len(values))
	for i, v := range values {
		column[i] = float32(v)
	}
	return byRow(x, Const(x.Graph(), column))
}

// byRow multiplies each row of x, of any rank, with its entry of a vector.
func byRow(x, vector *Node) *Node {
	dims := slices.Repeat([]int{1}, x.Rank())
	dims[0] = vector.Shape().Size()
	return Mul(x, Reshape(vector, dims...))
}
