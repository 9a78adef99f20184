package mamba

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph"
)

// MapRows computes f over the rows [from, to) of x, q at a time, and writes the
// results to the same rows of out; to-from is a multiple of q. It is a loop: its
// length is known when the graph runs, and it has no gradient.
//
// from, to: scalar int32; x: [M, n]; weights: whatever f needs of the graph (a loop
// may not look outside); out: [M, width], zero in these rows. f is given pieces
// [q, n] and returns [q, width]; it may not use operations with a scalar, which
// GoMLX keeps once a graph, not once a loop.
func MapRows(q int, from, to, x *Node, weights []*Node, out *Node, f func(rows *Node, weights []*Node) *Node) *Node {
	state := append([]*Node{from, to, out, x}, weights...)
	return Loop(state, func(p []*Node) *Node { return LessThan(p[0], p[1]) }, func(p []*Node) []*Node {
		at := p[0]
		next := append([]*Node{Add(at, Const(at.Graph(), int32(q)))}, p[1:]...)
		next[2] = SetRows(p[2], f(SliceAt(p[3], 0, at, q), p[4:]), at)
		return next
	})[2]
}

// Loop runs body over state for as long as cond holds. Both are given the state as
// nodes of their own, and may use no others: no scalar either that the graph outside
// has used, for GoMLX keeps one node for equal scalars of a graph.
func Loop(state []*Node, cond func(state []*Node) *Node, body func(state []*Node) []*Node) []*Node {
	parameters := func(g *Graph) []*Node {
		nodes := make([]*Node, len(state))
		for i, n := range state {
			nodes[i] = Parameter(g, fmt.Sprintf("loop.%d", i), n.Shape())
		}
		return nodes
	}
	g := state[0].Graph()
	return While(
		NewClosure(g, func(g *Graph) []*Node { return []*Node{cond(parameters(g))} }),
		NewClosure(g, func(g *Graph) []*Node { return body(parameters(g)) }),
		state...)
}
