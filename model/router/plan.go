package router

import "slices"

// Reason says why a chunk runs its encoders.
type Reason string

// Reasons of a decision.
const (
	ReasonDefault Reason = "default" // no text seen yet: the default encoders
	ReasonDomain  Reason = "domain"  // no text seen yet: the caller's domain hint
	ReasonKept    Reason = "kept"    // a decision that changed no encoder
	ReasonSwapped Reason = "swapped" // a decision that changed at least one encoder
)

// Chunk is a run of tokens that share one decision. It owns its slices.
type Chunk struct {
	Start, End int       // token positions [Start, End) in the whole text
	Slots      []int     // [k] encoder in each slot
	Gates      []float64 // [k] weight of each slot's encoder, sum 1
	Changed    []bool    // [k] slots whose encoder differs from the token before Start; all false on the first chunk and where Continues
	Continues  bool      // the decision was made before Start: this lengthens the last chunk of an earlier call
	Reason     Reason
	Scores     []Score // the k chosen encoders and up to k runners-up, best first by Score + Bias; empty before the first decision
}

// Score is what the gate gave one encoder at a decision.
type Score struct {
	Encoder int
	Score   float64 // sigmoid(z), in [0, 1]
	Bias    float64 // balance bias, added for the selection only
}

// Always reports whether the encoder runs whatever its score is, since its balance bias
// is above every score.
func (s Score) Always() bool { return s.Bias > 1 }

// State is all that the router remembers of a text: O(k + len(HalfLives)*Dim)
// numbers, independent of the number of encoders and of the text's length. It is a
// value: Plan never changes the one it is given. Any encoding that keeps float64
// exact (encoding/json, encoding/gob) saves and restores it.
type State struct {
	Position int       // tokens seen
	Averages []float64 // [len(HalfLives)*Dim] leaky averages, before the correction for the start
	Slots    []int     // [k] encoder in each slot
	Gates    []float64 // [k] weight of each slot's encoder
	Reason   Reason    // of the decision that is in force
	Scores   []Score   // of the decision that is in force
}

// Clone returns a copy that shares no memory with s.
func (s State) Clone() State {
	s.Averages = slices.Clone(s.Averages)
	s.Slots = slices.Clone(s.Slots)
	s.Gates = slices.Clone(s.Gates)
	s.Scores = slices.Clone(s.Scores)
	return s
}
