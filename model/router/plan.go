package router

// Reason says why a chunk runs its encoders.
type Reason string

// Reasons of a decision.
const (
	ReasonDefault Reason = "default" // no text seen yet: the default encoders
	ReasonDomain  Reason = "domain"  // no text seen yet: the caller's domain hint
	ReasonKept    Reason = "kept"    // a decision that changed no encoder
	ReasonSwapped Reason = "swapped" // a decision that changed at least one encoder
)

// Chunk is a run of tokens that share one decision.
type Chunk struct {
	Start, End int       // token positions [Start, End) in the whole text
	Slots      []int     // [k] encoder in each slot
	Gates      []float64 // [k] weight of each slot's encoder, sum 1
	Changed    []bool    // [k] slots whose encoder differs from the chunk before; all false on the first
	Reason     Reason
	Scores     []Score // the best encoders by score, best first; empty before the first decision
}

// Score is what the gate gave one encoder at a decision.
type Score struct {
	Encoder int
	Score   float64 // sigmoid(z), in (0, 1)
	Bias    float64 // balance bias, added for the selection only
}
