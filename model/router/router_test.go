package router_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mamba-encoder-swarm/mes/model/router"
)

var granularities = []router.Granularity{router.PerChunk, router.PerToken, router.PerSequence}

// plan plans ids from the start, in calls of the given lengths and the rest in one.
func plan(t testing.TB, r *router.Router, ids []int32, calls ...int) ([]router.Chunk, router.State) {
	t.Helper()
	s, err := r.Start("")
	if err != nil {
		t.Fatal(err)
	}
	var all []router.Chunk
	for _, n := range append(calls, len(ids)) {
		n = min(n, len(ids))
		var chunks []router.Chunk
		if chunks, s, err = r.Plan(s, ids[:n]); err != nil {
			t.Fatal(err)
		}
		all, ids = append(all, chunks...), ids[n:]
	}
	return all, s
}

// join merges chunks that continue one another, as if planned in one call.
func join(t testing.TB, chunks []router.Chunk) []router.Chunk {
	t.Helper()
	var joined []router.Chunk
	for _, c := range chunks {
		if !c.Continues {
			joined = append(joined, c)
			continue
		}
		last := &joined[len(joined)-1]
		if c.Start != last.End || slices.Contains(c.Changed, true) {
			t.Fatalf("chunk %+v does not continue %+v", c, *last)
		}
		last.End = c.End
		c.Start, c.End, c.Continues, c.Changed = last.Start, last.End, last.Continues, last.Changed
		if diff := cmp.Diff(*last, c); diff != "" {
			t.Fatalf("a continuation differs from its decision (-first +later):\n%s", diff)
		}
	}
	return joined
}

func mustNew(t testing.TB, c router.Config, w router.Weights) *router.Router {
	t.Helper()
	r, err := router.New(c, w, len(w.Embeddings)/c.Dim)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPlanAgreesWithOracle(t *testing.T) {
	sizes := []struct{ e, k, runs int }{{1, 1, 5}, {5, 3, 40}, {7, 7, 5}, {16, 2, 40}, {1000, 10, 2}}
	for _, g := range granularities {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s/E=%d,k=%d", g, size.e, size.k), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(size.e), uint64(len(g))))
				swaps := 0
				for range size.runs {
					c, w, ids := randomCase(rng, g, size.e, size.k)
					chunks, _ := plan(t, mustNew(t, c, w), ids)
					swaps += compareWithOracle(t, chunks, oracle(c, w, ids))
				}
				if size.k < size.e && swaps == 0 {
					t.Error("no encoder was ever swapped: the cases test nothing")
				}
			})
		}
	}
}

// compareWithOracle checks every token and returns the number of swaps.
func compareWithOracle(t *testing.T, chunks []router.Chunk, want []oracleStep) (swaps int) {
	t.Helper()
	pos := 0
	for i, c := range chunks {
		if c.Start != pos || c.End <= pos {
			t.Fatalf("chunk %d covers [%d, %d), expected it to begin at %d", i, c.Start, c.End, pos)
		}
		for ; pos < c.End; pos++ {
			if !slices.Equal(c.Slots, want[pos].slots) {
				t.Fatalf("token %d: slots %v, oracle %v", pos, c.Slots, want[pos].slots)
			}
			for slot, g := range c.Gates {
				if math.Abs(g-want[pos].gates[slot]) > 1e-12 {
					t.Fatalf("token %d: gates %v, oracle %v", pos, c.Gates, want[pos].gates)
				}
			}
		}
		changed := make([]bool, len(c.Slots))
		for slot := range changed {
			changed[slot] = i > 0 && c.Slots[slot] != chunks[i-1].Slots[slot]
			if changed[slot] {
				swaps++
			}
		}
		reason := router.ReasonKept
		if i == 0 {
			reason = router.ReasonDefault
		} else if slices.Contains(changed, true) {
			reason = router.ReasonSwapped
		}
		if !slices.Equal(c.Changed, changed) || c.Reason != reason || c.Continues {
			t.Fatalf("chunk %d: changed %v, reason %s, continues %v; expected %v, %s, false", i, c.Changed, c.Reason, c.Continues, changed, reason)
		}
	}
	if pos != len(want) {
		t.Fatalf("the plan ends at %d, the text at %d", pos, len(want))
	}
	return swaps
}

func TestAnySplitGivesTheSamePlan(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, g := range granularities {
		for range 10 {
			c, w, ids := randomCase(rng, g, 12, 3)
			r := mustNew(t, c, w)
			whole, end := plan(t, r, ids)
			splits := map[string][]int{
				"token by token": slices.Repeat([]int{1}, len(ids)),
				"at boundaries":  slices.Repeat([]int{c.ChunkLength}, len(ids)),
				"with empties":   {0, 5, 0, 0, 1, 0},
			}
			for i := range 3 {
				var ragged []int
				for range 40 {
					ragged = append(ragged, rng.IntN(3*c.ChunkLength+1))
				}
				splits[fmt.Sprintf("ragged %d", i)] = ragged
			}
			for name, calls := range splits {
				parts, last := plan(t, r, ids, calls...)
				if diff := cmp.Diff(whole, join(t, parts)); diff != "" {
					t.Fatalf("%s, %s: plan differs to the bit (-whole +split):\n%s", g, name, diff)
				}
				if diff := cmp.Diff(end, last); diff != "" {
					t.Fatalf("%s, %s: state differs to the bit (-whole +split):\n%s", g, name, diff)
				}
			}
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(uint64(1), byte(0), []byte{3, 4, 1, 1})
	f.Add(uint64(2), byte(1), []byte{0, 64, 0})
	f.Add(uint64(3), byte(2), []byte{60, 5})
	f.Fuzz(func(t *testing.T, seed uint64, granularity byte, cuts []byte) {
		rng := rand.New(rand.NewPCG(seed, 0))
		e := 1 + rng.IntN(20)
		c, w, ids := randomCase(rng, granularities[int(granularity)%3], e, 1+rng.IntN(e))
		calls := make([]int, len(cuts))
		for i, n := range cuts {
			calls[i] = int(n)
		}
		r := mustNew(t, c, w)
		whole, end := plan(t, r, ids)
		parts, last := plan(t, r, ids, calls...)
		if diff := cmp.Diff(whole, join(t, parts)) + cmp.Diff(end, last); diff != "" {
			t.Fatalf("(-whole +split):\n%s", diff)
		}
	})
}

func TestLaterTokensChangeNoEarlierDecision(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for _, g := range granularities {
		for range 20 {
			c, w, ids := randomCase(rng, g, 12, 3)
			r := mustNew(t, c, w)
			before, _ := plan(t, r, ids)
			cut := rng.IntN(len(ids)) // tokens from cut on are replaced
			other := slices.Clone(ids)
			for i := cut; i < len(other); i++ {
				other[i] = int32(rng.IntN(20))
			}
			after, _ := plan(t, r, other)
			for i, c := range before {
				if c.Start > cut {
					break
				}
				if diff := cmp.Diff(c, after[i]); diff != "" {
					t.Fatalf("%s: tokens from %d on changed the decision at %d:\n%s", g, cut, c.Start, diff)
				}
			}
		}
	}
}

// The token just before a decision is the last that it sees.
func TestDecisionSeesTheTokenBeforeIt(t *testing.T) {
	c, w := twoTopics(4, []float64{0.9, 0.1}, []float64{0.1, 0.9})
	c.HalfLives, c.DefaultEncoders = []float64{0.5}, []int{0} // the last token outweighs all before: 3/4
	chunks, _ := plan(t, mustNew(t, c, w), []int32{0, 0, 0, 1, 0, 0, 0, 0})
	if got := chunks[1].Slots[0]; got != 1 {
		t.Errorf("token 3 speaks for encoder 1, the decision at 4 took %d", got)
	}
	chunks, _ = plan(t, mustNew(t, c, w), []int32{0, 0, 0, 0, 1, 0, 0, 0})
	if got := chunks[1].Slots[0]; got != 0 {
		t.Errorf("token 4 speaks for encoder 1 and came after the decision at 4, which took %d", got)
	}
}

func TestTokenIsChunkOfOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	c, w, ids := randomCase(rng, router.PerToken, 9, 2)
	token, _ := plan(t, mustNew(t, c, w), ids)
	c.Granularity, c.ChunkLength = router.PerChunk, 1
	chunk, _ := plan(t, mustNew(t, c, w), ids)
	if diff := cmp.Diff(chunk, token); diff != "" {
		t.Errorf("token granularity differs from chunks of one (-chunk +token):\n%s", diff)
	}
}

func TestSequenceDecidesOnce(t *testing.T) {
	c, w := twoTopics(0, []float64{0.9, 0.1}, []float64{0.1, 0.9})
	c.Granularity, c.SequenceDecision, c.DefaultEncoders = router.PerSequence, 64, []int{0}
	r := mustNew(t, c, w)
	ids := append(slices.Repeat([]int32{1}, 64), slices.Repeat([]int32{0}, 5000)...)
	type run struct{ Start, End, Encoder int }
	for n, want := range map[int][]run{
		1:    {{0, 1, 0}},
		64:   {{0, 64, 0}},
		65:   {{0, 64, 0}, {64, 65, 1}},
		5064: {{0, 64, 0}, {64, 5064, 1}}, // topic 0 no longer changes anything
	} {
		chunks, _ := plan(t, r, ids[:n])
		var got []run
		for _, c := range chunks {
			got = append(got, run{c.Start, c.End, c.Slots[0]})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d tokens (-want +got):\n%s", n, diff)
		}
	}
}

// twoTopics returns a router with two tokens: a text of token 0 alone gives encoder e
// the score s0[e], a text of token 1 alone s1[e] (to float32 precision).
func twoTopics(chunk int, s0, s1 []float64) (router.Config, router.Weights) {
	c := router.Config{
		NumEncoders: len(s0), EncodersPerToken: 1, Granularity: router.PerChunk, ChunkLength: chunk,
		Dim: 2, HalfLives: []float64{4}, Temperature: 1, Hysteresis: 0.02, DefaultEncoders: []int{0},
	}
	w := router.Weights{Embeddings: []float32{0.5, 0, 0, 0.5}, Bias: make([]float32, len(s0))}
	logit := func(s float64) float32 { return float32(math.Log(s/(1-s)) / math.Sqrt2) } // ρ = (√2, 0) or (0, √2)
	for e := range s0 {
		w.Proj = append(w.Proj, logit(s0[e]), logit(s1[e]))
	}
	return c, w
}

// Scores, slots and gates worked out by hand.
func TestWorkedExample(t *testing.T) {
	c, w := twoTopics(4,
		[]float64{0.50, 0.60, 0.65, 0.30}, // topic 0: encoder 2 replaces 0
		[]float64{0.61, 0.55, 0.60, 0.40}) // topic 1: 0 leads the worst, 1, by 0.06
	c.EncodersPerToken, c.DefaultEncoders, c.HalfLives = 2, []int{0, 1}, []float64{0.1} // λ = 2^-10: the last token decides
	chunks, _ := plan(t, mustNew(t, c, w), []int32{0, 0, 0, 0, 1, 1, 1, 1, 1, 0})
	want := []router.Chunk{
		{Start: 0, End: 4, Slots: []int{0, 1}, Gates: []float64{0.5, 0.5}, Changed: []bool{false, false}, Reason: router.ReasonDefault},
		{Start: 4, End: 8, Slots: []int{2, 1}, Gates: []float64{0.52, 0.48}, Changed: []bool{true, false}, Reason: router.ReasonSwapped,
			Scores: []router.Score{{Encoder: 2, Score: 0.65}, {Encoder: 1, Score: 0.60}, {Encoder: 0, Score: 0.50}, {Encoder: 3, Score: 0.30}}},
		{Start: 8, End: 10, Slots: []int{2, 0}, Gates: []float64{60. / 121, 61. / 121}, Changed: []bool{false, true}, Reason: router.ReasonSwapped,
			Scores: []router.Score{{Encoder: 0, Score: 0.61}, {Encoder: 2, Score: 0.60}, {Encoder: 1, Score: 0.55}, {Encoder: 3, Score: 0.40}}},
	}
	// 2e-3: the token before the last still has 2^-10 of the weight.
	if diff := cmp.Diff(want, chunks, cmpopts.EquateApprox(0, 2e-3)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHysteresis(t *testing.T) {
	tests := []struct {
		name       string
		scores     []float64
		bias       []float32
		hysteresis float64
		incumbent  int
		want       int
		reason     router.Reason
	}{
		{"lead below delta keeps", []float64{0.500, 0.515}, nil, 0.02, 0, 0, router.ReasonKept},
		{"lead above delta swaps", []float64{0.500, 0.525}, nil, 0.02, 0, 1, router.ReasonSwapped},
		{"no delta: any lead swaps", []float64{0.500, 0.501}, nil, 0, 0, 1, router.ReasonSwapped},
		{"no delta: a tie goes to the lower index", []float64{0.5, 0.5}, nil, 0, 1, 0, router.ReasonSwapped},
		{"no delta: a tie keeps the lower index", []float64{0.5, 0.5}, nil, 0, 0, 0, router.ReasonKept},
		{"a tie within delta keeps", []float64{0.5, 0.5}, nil, 0.02, 1, 1, router.ReasonKept},
		{"bias counts for the selection", []float64{0.5, 0.5}, []float32{0, 0.03}, 0.02, 0, 1, router.ReasonSwapped},
		{"bias against", []float64{0.5, 0.6}, []float32{0, -0.09}, 0.02, 0, 0, router.ReasonKept},
		{"best of several", []float64{0.5, 0.6, 0.7, 0.6}, nil, 0.02, 0, 2, router.ReasonSwapped},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, w := twoTopics(2, tt.scores, tt.scores)
			c.Hysteresis, c.DefaultEncoders = tt.hysteresis, []int{tt.incumbent}
			if tt.bias != nil {
				w.Bias = tt.bias
			}
			chunks, _ := plan(t, mustNew(t, c, w), []int32{0, 0, 0})
			if got := chunks[1]; got.Slots[0] != tt.want || got.Reason != tt.reason || got.Gates[0] != 1 {
				t.Errorf("slots %v, gates %v, %s; want [%d], [1], %s", got.Slots, got.Gates, got.Reason, tt.want, tt.reason)
			}
		})
	}
}

// The bias chooses, the scores alone weigh.
func TestBiasNeverEntersTheGates(t *testing.T) {
	c, w := twoTopics(2, []float64{0.2, 0.9, 0.6}, []float64{0.2, 0.9, 0.6})
	c.EncodersPerToken, c.DefaultEncoders = 2, []int{0, 1}
	w.Bias = []float32{1, -1, 0} // values 1.2, -0.1, 0.6
	chunks, _ := plan(t, mustNew(t, c, w), []int32{0, 0, 0})
	want := router.Chunk{Start: 2, End: 3, Slots: []int{0, 2}, Gates: []float64{0.25, 0.75}, Changed: []bool{false, true}, Reason: router.ReasonSwapped,
		Scores: []router.Score{{Encoder: 0, Score: 0.2, Bias: 1}, {Encoder: 2, Score: 0.6}, {Encoder: 1, Score: 0.9, Bias: -1}}}
	if diff := cmp.Diff(want, chunks[1], cmpopts.EquateApprox(0, 1e-6)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Kept encoders are listed however low they rank, and no more than k others.
func TestScoresListTheChosenAndTheRunnersUp(t *testing.T) {
	scores := []float64{0.2, 0.8, 0.6, 0.9, 0.7, 0.3}
	c, w := twoTopics(1, scores, scores)
	c.EncodersPerToken, c.DefaultEncoders, c.Hysteresis = 2, []int{0, 5}, 1
	chunks, _ := plan(t, mustNew(t, c, w), []int32{0, 0})
	want := []router.Score{{Encoder: 3, Score: 0.9}, {Encoder: 1, Score: 0.8}, {Encoder: 5, Score: 0.3}, {Encoder: 0, Score: 0.2}}
	if diff := cmp.Diff(want, chunks[1].Scores, cmpopts.EquateApprox(0, 1e-6)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVanishedScoresWeighEqually(t *testing.T) {
	c, w := twoTopics(2, []float64{0.1, 0.2, 0.3}, []float64{0.1, 0.2, 0.3})
	c.EncodersPerToken, c.DefaultEncoders, c.Temperature = 2, []int{2, 1}, 1e-4 // every sigmoid underflows to 0
	chunks, _ := plan(t, mustNew(t, c, w), []int32{0, 0, 0})
	if diff := cmp.Diff([]float64{0.5, 0.5}, chunks[1].Gates); diff != "" {
		t.Errorf("gates (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{2, 1}, chunks[1].Slots); diff != "" {
		t.Errorf("equal scores within delta keep their slots (-want +got):\n%s", diff)
	}
}

// Embeddings of zero say nothing: every score is 1/2.
func TestZeroEmbeddings(t *testing.T) {
	c, w := twoTopics(1, []float64{0.1, 0.9}, []float64{0.1, 0.9})
	clear(w.Embeddings)
	chunks, _ := plan(t, mustNew(t, c, w), []int32{0, 1})
	want := []router.Score{{Encoder: 0, Score: 0.5}, {Encoder: 1, Score: 0.5}}
	if diff := cmp.Diff(want, chunks[1].Scores); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
