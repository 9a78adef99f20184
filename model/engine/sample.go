package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/mamba-encoder-swarm/mes/internal/num"
)

// validate lists everything that is out of range, by field.
func (r Request) validate() error {
	var faults []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	check(r.MaxTokens >= 0, "max_tokens: %d is negative", r.MaxTokens)
	check(r.Temperature >= 0 && !math.IsInf(r.Temperature, 1), "temperature: %v must be finite and at least 0", r.Temperature)
	check(r.TopK >= 0, "top_k: %d is negative", r.TopK)
	check(r.TopP >= 0 && r.TopP <= 1, "top_p: %v must be between 0 and 1", r.TopP)
	check(r.MinP >= 0 && r.MinP <= 1, "min_p: %v must be between 0 and 1", r.MinP)
	check(r.RepetitionPenalty >= 0 && !math.IsInf(r.RepetitionPenalty, 1), "repetition_penalty: %v must be finite and at least 0", r.RepetitionPenalty)
	check(!math.IsNaN(r.PresencePenalty) && !math.IsInf(r.PresencePenalty, 0), "presence_penalty: %v must be finite", r.PresencePenalty)
	check(r.Logprobs >= 0 && r.Logprobs <= maxLogprobs, "logprobs: %d must be between 0 and %d", r.Logprobs, maxLogprobs)
	for _, s := range r.Stop {
		check(s != "", "stop: an empty string would stop at once")
	}
	if faults == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrBadRequest, strings.Join(faults, "; "))
}

// maxLogprobs is the most alternatives that a request may ask for per token.
const maxLogprobs = 100

// sampler draws tokens from logits. The order of its steps is that of
// transformers: repetition penalty, presence penalty, temperature, top-k, top-p,
// min-p.
type sampler struct {
	Sampling
	rng       *rand.Rand
	seen      map[int32]bool // tokens of prompt and answer
	generated map[int32]bool // tokens of the answer
	work      []float32
}

func newSampler(s Sampling, prompt []int32) *sampler {
	seen := make(map[int32]bool, len(prompt))
	for _, id := range prompt {
		seen[id] = true
	}
	return &sampler{Sampling: s, rng: rand.New(rand.NewPCG(s.Seed, 0)), seen: seen, generated: map[int32]bool{}}
}

// next draws a token and remembers it. logits are not changed.
func (s *sampler) next(logits []float32) int32 {
	id := s.draw(s.penalize(logits))
	s.seen[id], s.generated[id] = true, true
	return id
}

// penalize returns the logits with the penalties of tokens already there.
func (s *sampler) penalize(logits []float32) []float32 {
	repetition := float32(s.RepetitionPenalty)
	if (repetition == 0 || repetition == 1) && s.PresencePenalty == 0 {
		return logits
	}
	s.work = append(s.work[:0], logits...)
	if repetition != 0 && repetition != 1 {
		for id := range s.seen {
			if v := s.work[id]; v > 0 {
				s.work[id] = v / repetition
			} else {
				s.work[id] = v * repetition
			}
		}
	}
	for id := range s.generated {
		s.work[id] -= float32(s.PresencePenalty)
	}
	return s.work
}

// draw picks a token: the best one at temperature 0, else one of the candidates
// with the probability that the temperature gives it.
func (s *sampler) draw(logits []float32) int32 {
	best := num.TopK(logits, 1)[0]
	if s.Temperature == 0 {
		return int32(best)
	}
	weight := func(id int) float64 {
		return math.Exp((float64(logits[id]) - float64(logits[best])) / s.Temperature)
	}
	ids := s.candidates(logits, weight)
	total := 0.0
	for _, id := range ids {
		total += weight(id)
	}
	u := s.rng.Float64() * total
	for _, id := range ids {
		if u -= weight(id); u < 0 {
			return int32(id)
		}
	}
	return int32(ids[len(ids)-1])
}

// firstCandidates is how many of the likeliest tokens are sorted before it is
// known how many a nucleus needs.
const firstCandidates = 128

// candidates returns the tokens that top-k, top-p and min-p leave. It sorts no
// more of the vocabulary than the limits need, and nothing if there is no limit.
func (s *sampler) candidates(logits []float32, weight func(id int) float64) []int {
	limit := len(logits)
	if s.TopK > 0 {
		limit = min(limit, s.TopK)
	}
	nucleus := s.TopP > 0 && s.TopP < 1
	all := func() []int {
		if limit < len(logits) {
			return num.TopK(logits, limit)
		}
		ids := make([]int, limit)
		for i := range ids {
			ids[i] = i
		}
		return ids
	}
	if !nucleus && s.MinP == 0 {
		return all()
	}
	mass := math.Inf(1) // what the nucleus has to hold
	if nucleus {
		sum := 0.0
		for _, id := range all() {
			sum += weight(id)
		}
		mass = s.TopP * sum
	}
	for n := min(limit, firstCandidates); ; n = min(limit, 8*n) {
		ids := num.TopK(logits, n)
		sum := 0.0
		for i, id := range ids {
			w := weight(id)
			if w < s.MinP || sum >= mass {
				return ids[:max(i, 1)]
			}
			sum += w
		}
		if n == limit {
			return ids
		}
	}
}

// logprobs returns the log-probability of a token under the model (before
// penalties and temperature) and the n likeliest tokens.
func logprobs(logits []float32, id int32, n int) (float64, []TokenLogprob) {
	norm := num.LogSumExp(logits)
	var top []TokenLogprob
	for _, i := range num.TopK(logits, n) {
		top = append(top, TokenLogprob{Token: i, Logprob: float64(logits[i]) - norm})
	}
	return float64(logits[id]) - norm, top
}
