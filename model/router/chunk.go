package router

import "math"

// NextDecision returns the first position after pos at which the router decides,
// or math.MaxInt if it never decides again. A decision at position t sees the tokens
// before t and holds for the tokens from t on; position 0 has none.
func (c Config) NextDecision(pos int) int {
	length := c.ChunkLength
	switch c.Granularity {
	case PerToken:
		length = 1
	case PerSequence:
		if pos >= c.SequenceDecision {
			return math.MaxInt
		}
		return c.SequenceDecision
	}
	return (pos/length + 1) * length
}

// decidesAt reports whether the router decides before the token at pos.
func (c Config) decidesAt(pos int) bool {
	return pos > 0 && c.NextDecision(pos-1) == pos
}
