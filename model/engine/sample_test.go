package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// distribution is the reference: probabilities [V] with which a token is drawn, the
// steps one after the other over the whole vocabulary, each on the renormalised
// probabilities of the step before, as transformers does.
func distribution(s Sampling, logits []float32, prompt, answer []int32) []float64 {
	l := make([]float64, len(logits))
	for i, v := range logits {
		l[i] = float64(v)
	}
	if s.RepetitionPenalty > 0 {
		for _, id := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(prompt, answer)))) {
			if l[id] < 0 {
				l[id] *= s.RepetitionPenalty
			} else {
				l[id] /= s.RepetitionPenalty
			}
		}
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(answer))) {
		l[id] -= s.PresencePenalty
	}
	for i := range l {
		l[i] /= s.Temperature
	}
	order := make([]int, len(l))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return l[order[a]] > l[order[b]] })
	p := softmax(l)
	drop := func(keep func(rank int, cumulative float64) bool) {
		cumulative := 0.0
		for rank, id := range order {
			c := cumulative
			cumulative += p[id]
			if rank > 0 && !keep(rank, c) {
				l[id] = math.Inf(-1)
			}
		}
		p = softmax(l)
	}
	if s.TopK > 0 {
		drop(func(rank int, _ float64) bool { return rank < s.TopK })
	}
	if s.TopP > 0 {
		drop(func(_ int, before float64) bool { return before < s.TopP })
	}
	if s.MinP > 0 {
		best := p[order[0]]
		drop(func(rank int, _ float64) bool { return p[order[rank]] >= s.MinP*best })
	}
	return p
}

func softmax(l []float64) []float64 {
	p, sum := make([]float64, len(l)), 0.0
	top := slices.Max(l)
	for i, v := range l {
		p[i] = math.Exp(v - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// TestSampling draws from random logits and compares how often each token comes with
// the reference: none that it excludes, and the others within five standard
// deviations.
func TestSampling(t *testing.T) {
	const V, draws = 300, 20000
	rng := rand.New(rand.NewPCG(1, 2))
	for i, s := range []Sampling{
		{Temperature: 1}, {Temperature: 0.3}, {Temperature: 2.5},
		{Temperature: 1, TopK: 1}, {Temperature: 1, TopK: 7}, {Temperature: 3, TopK: 200}, {Temperature: 1, TopK: 5000},
		{Temperature: 1, TopP: 0.9}, {Temperature: 3, TopP: 0.99}, {Temperature: 1, TopP: 1e-9}, {Temperature: 1, TopP: 1},
		{Temperature: 1, MinP: 0.1}, {Temperature: 2, MinP: 1}, {Temperature: 5, MinP: 0.01},
		{Temperature: 1.5, TopK: 40, TopP: 0.8}, {Temperature: 1.5, TopK: 40, TopP: 0.95, MinP: 0.2},
		{Temperature: 4, TopK: 290, TopP: 0.999, MinP: 1e-4},
		{Temperature: 1, RepetitionPenalty: 1.8}, {Temperature: 1, PresencePenalty: 2},
		{Temperature: 1.2, TopK: 50, TopP: 0.9, RepetitionPenalty: 0.7, PresencePenalty: -1},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			s.Seed = uint64(i)
			logits := make([]float32, V)
			for i := range logits {
				logits[i] = float32(2 * rng.NormFloat64())
			}
			prompt, answer := []int32{3, 4, 3, 299}, []int32{10, 3, 11, 10}
			logits[3], logits[10] = 4, 5 // so that penalties matter
			original := slices.Clone(logits)
			want := distribution(s, logits, prompt, answer)
			sampler := newSampler(s, prompt)
			for _, id := range answer {
				sampler.seen[id], sampler.generated[id] = true, true
			}
			counts := make([]int, V)
			for range draws {
				counts[sampler.draw(sampler.penalize(logits))]++
			}
			for id, n := range counts {
				mean := draws * want[id]
				if want[id] == 0 && n > 0 {
					t.Errorf("token %d is drawn %d times, the reference excludes it", id, n)
				} else if sigma := math.Sqrt(mean * (1 - want[id])); math.Abs(float64(n)-mean) > 5*sigma+5 {
					t.Errorf("token %d is drawn %d times, want %.0f", id, n, mean)
				}
			}
			if diff := cmp.Diff(original, logits); diff != "" {
				t.Errorf("the logits were changed:\n%s", diff)
			}
		})
	}
}

// TestSamplingRemembers: tokens drawn count for the penalties of the next.
func TestSamplingRemembers(t *testing.T) {
	logits := []float32{2, 1.9, 1.8, -1}
	s := newSampler(Sampling{RepetitionPenalty: 2}, []int32{0})
	var got []int32
	for range 4 {
		got = append(got, s.next(logits))
	}
	// 2/2 = 1 loses to 1.9; then 1.9/2 to 1.8; then 1 is the best of what is left.
	if want := []int32{1, 2, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("tokens %v, want %v", got, want)
	}
}

// TestGreedyIgnoresSampling: at temperature 0 the best token wins whatever else is
// set, the first of several.
func TestGreedyIgnoresSampling(t *testing.T) {
	s := newSampler(Sampling{TopK: 3, TopP: 0.1, MinP: 0.5, Seed: 9}, nil)
	if got := s.next([]float32{1, 3, 3, 2}); got != 1 {
		t.Errorf("token %d, want 1", got)
	}
}

// TestTinyTemperature does not overflow.
func TestTinyTemperature(t *testing.T) {
	s := newSampler(Sampling{Temperature: 1e-300, TopP: 0.5, Seed: 9}, nil)
	if got := s.next([]float32{1, 30, 29, -100}); got != 1 {
		t.Errorf("token %d, want 1", got)
	}
}

// TestStopText pushes texts in all ways to cut them in two and three.
func TestStopText(t *testing.T) {
	for _, c := range []struct {
		text  string
		stops []string
		want  string
		stop  bool
	}{
		{"abcabd", []string{"abd"}, "abc", true},
		{"aaab", []string{"aab"}, "a", true},
		{"ababac", []string{"abac"}, "ab", true},
		{"hello", []string{"x", "lo", "l"}, "he", true},
		{"hello", []string{"lox"}, "hello", false},
		{"naïve", []string{"ïv"}, "na", true},
		{"end\n\n", []string{"\n\n\n"}, "end\n\n", false},
		{"abc", []string{"abc"}, "", true},
		{"abcd", []string{"abcd", "bc"}, "a", true}, // bc is complete first
		{"abcd", []string{"c", "bc"}, "a", true},
		{"abc", nil, "abc", false},
	} {
		for i := range len(c.text) + 1 {
			for j := i; j <= len(c.text); j++ {
				s := stopText{stops: c.stops}
				got, stopped := "", false
				for _, piece := range []string{c.text[:i], c.text[i:j], c.text[j:]} {
					if !stopped {
						var final string
						final, stopped = s.push(piece)
						got += final
					}
				}
				if !stopped {
					got += s.flush()
				}
				if got != c.want || stopped != c.stop {
					t.Errorf("%q cut at %d and %d, stops %q: %q (%v), want %q", c.text, i, j, c.stops, got, stopped, c.want)
				}
			}
		}
	}
}
