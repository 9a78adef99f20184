package mamba

import (
	. "github.com/gomlx/gomlx/core/graph"
)

// scanS6 is Mamba-1's mixer between in_proj and the gate (Gu & Dao 2023,
// Algorithm 2): delta, B and C depend on the token, A is diagonal.
//
// w holds the mixer's tensors. proj: [B, T, 2di]. Returns y, z: [B, T, di].
func (c Config) scanS6(w Weights, proj *Node, s State, span Span) (y, z *Node, next State) {
	di, N, R := c.DInner(), c.DState, c.DTRank
	z = part(proj, di, 2*di)
	x, conv := c.conv(w, proj, 0, s.Conv, span)

	dbc := widen(c.linear(w, "x_proj", x, false)) // [B, T, R+2N]
	delta, B, C := part(dbc, 0, R), part(dbc, R, R+N), part(dbc, R+N, R+2*N)
	if c.Kind == Falcon {
		delta, B, C = rmsNormalize(delta, c.MixerNormEps), rmsNormalize(B, c.MixerNormEps), rmsNormalize(C, c.MixerNormEps)
	}
	delta = span.zero(softplus(widen(c.linear(w, "dt_proj", c.narrow(delta), true)))) // [B, T, di]
	x = widen(x)
	A := Transpose(Neg(Exp(w("A_log"))), 0, 1)                      // [N, di]
	y, ssm := c.selectiveScan(s.SSM, delta, Mul(delta, x), A, B, C) // [B, T, di]
	return Add(y, Mul(x, alignRight(w("D"), 3))), z, State{conv, ssm}
}
