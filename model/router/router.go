// Package router decides which k of a swarm's E encoders run on which tokens.
//
// It reads token ids only, and a decision at position t only those before t, so a
// plan never depends on the network, on later text, or on how the text is cut into
// calls: prefill and decode run the same encoders bit for bit. All arithmetic is in
// float64, one text at a time, on the host.
//
// A decision goes through the files in this order. topic.go keeps leaky averages of
// the tokens' router embeddings, one per half-life, and makes features ρ of them.
// chunk.go says at which positions to decide. gate.go scores the encoders,
// s = sigmoid(W_z ρ / τ), keeps the present ones unless another leads by more than
// the hysteresis, and weighs the chosen by their share of s. Before the first
// decision the default encoders run, or those of the caller's domain hint.
//
//	r, err := router.New(cfg, weights, vocab)
//	state, err := r.Start("")
//	chunks, state, err := r.Plan(state, promptIDs)
//	chunks, state, err = r.Plan(state, nextID) // goes on where the prompt ended
//
// Padding never reaches the router: callers pass the ids of the text alone.
//
// What is not here: the training losses and the update of the balance bias.
package router

import (
	"fmt"
	"slices"
	"strings"
)

// Weights are the router's tensors, row-major; New keeps the slices and nothing
// changes them afterwards.
type Weights struct {
	Embeddings []float32 // W_R [V, Dim], router.embeddings.weight
	Proj       []float32 // W_z [E, len(HalfLives)*Dim], router.proj.weight
	Bias       []float32 // balance bias b [E], router.bias
}

// Router plans texts. It does not change after New, so any number of goroutines may
// use one.
type Router struct {
	cfg   Config
	vocab int // V, rows of the embedding
	topic topic
	gate  gate
}

// New returns the router for a configuration, weights and a vocabulary of V ids. The
// error lists all faults of the configuration, or names the first tensor with a
// wrong size, a NaN or an infinity.
func New(cfg Config, w Weights, vocab int) (*Router, error) {
	if err := cfg.invalid(); err != nil {
		return nil, err
	}
	if vocab < 1 {
		return nil, fmt.Errorf("router: vocabulary of %d ids, must be at least 1", vocab)
	}
	for _, t := range []struct {
		name       string
		data       []float32
		rows, cols int
	}{
		{"router.embeddings.weight", w.Embeddings, vocab, cfg.Dim},
		{"router.proj.weight", w.Proj, cfg.NumEncoders, cfg.Features()},
		{"router.bias", w.Bias, cfg.NumEncoders, 1},
	} {
		if err := checkTensor(t.name, t.data, t.rows, t.cols); err != nil {
			return nil, err
		}
	}
	return &Router{
		cfg:   cfg,
		vocab: vocab,
		topic: newTopic(cfg, w.Embeddings),
		gate:  gate{proj: w.Proj, bias: w.Bias, temperature: cfg.Temperature, hysteresis: cfg.Hysteresis},
	}, nil
}

// checkTensor reports a wrong size, a NaN or an infinity.
func checkTensor(name string, data []float32, rows, cols int) error {
	if len(data) != rows*cols {
		return fmt.Errorf("%s: %d values, expected [%d, %d]", name, len(data), rows, cols)
	}
	for i, v := range data {
		if v-v != 0 { // NaN or ±Inf
			return fmt.Errorf("%s: element [%d, %d] is %v; the weights are damaged", name, i/cols, i%cols, v)
		}
	}
	return nil
}

// Always reports whether encoder e runs whatever is read.
func (r *Router) Always(e int) bool { return Score{Bias: float64(r.gate.bias[e])}.Always() }

// Start returns the state before the first token. The slots hold the default
// encoders with equal gates. A domain hint, one of the names in Config.Domains, lets
// the encoders of that domain lead the slots, lowest index first; default encoders
// fill the rest. Either holds until the first decision. A name that no encoder has is
// an error that lists the known ones.
func (r *Router) Start(domain string) (State, error) {
	k := r.cfg.EncodersPerToken
	s := State{
		Averages: make([]float64, r.cfg.Features()),
		Slots:    slices.Clone(r.cfg.DefaultEncoders),
		Gates:    equalGates(k),
		Reason:   ReasonDefault,
	}
	if domain == "" {
		return s, nil
	}
	var slots []int
	for e, name := range r.cfg.Domains {
		if name == domain {
			slots = append(slots, e)
		}
	}
	if len(slots) == 0 {
		return State{}, unknownDomain(domain, r.cfg.Domains)
	}
	for _, e := range r.cfg.DefaultEncoders {
		if !slices.Contains(slots, e) {
			slots = append(slots, e)
		}
	}
	s.Slots, s.Reason = slots[:k:k], ReasonDomain
	return s, nil
}

// unknownDomain says which names there are.
func unknownDomain(domain string, domains []string) error {
	known := slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(domains))), func(name string) bool { return name == "" })
	if len(known) == 0 {
		return fmt.Errorf("unknown domain %q: this model names no domains, leave the hint empty", domain)
	}
	return fmt.Errorf("unknown domain %q: this model knows %s", domain, strings.Join(known, ", "))
}

// Plan decides for the next tokens of a text, ids, whose earlier tokens led to s, and
// returns the state after them. The chunks cover exactly the positions
// [s.Position, s.Position+len(ids)), in order and without gaps. A decision is made
// when the first token that it holds for arrives; a first chunk whose decision was
// made in an earlier call is marked Continues and repeats that decision's slots,
// gates, reason and scores.
//
// The plan of a text is the same to the bit however it is cut into calls. An id
// outside the vocabulary or a state of another router is an error, and nothing of
// ids is taken.
func (r *Router) Plan(s State, ids []int32) (chunks []Chunk, next State, err error) {
	if err := r.checkState(s); err != nil {
		return nil, s, err
	}
	for i, id := range ids {
		if id < 0 || int(id) >= r.vocab {
			return nil, s, fmt.Errorf("token id %d at position %d is outside the vocabulary, 0 to %d", id, s.Position+i, r.vocab-1)
		}
	}
	next = s.Clone()
	for len(ids) > 0 {
		chunk := Chunk{Start: next.Position, Changed: make([]bool, len(next.Slots))}
		if r.cfg.decidesAt(next.Position) {
			chunk.Changed = r.decide(&next)
		} else {
			chunk.Continues = next.Position > 0
		}
		n := min(len(ids), r.cfg.NextDecision(next.Position)-next.Position)
		for _, id := range ids[:n] {
			r.topic.update(next.Averages, id)
		}
		ids, next.Position = ids[n:], next.Position+n
		chunk.End, chunk.Reason = next.Position, next.Reason
		chunk.Slots = slices.Clone(next.Slots)
		chunk.Gates = slices.Clone(next.Gates)
		chunk.Scores = slices.Clone(next.Scores)
		chunks = append(chunks, chunk)
	}
	return chunks, next, nil
}

// decide puts the decision at s.Position, from the tokens before it, into s and
// returns the slots that changed.
func (r *Router) decide(s *State) (changed []bool) {
	scores := r.gate.scores(r.topic.features(s.Averages, s.Position))
	values := r.gate.values(scores)
	s.Slots, changed = r.gate.choose(s.Slots, values)
	s.Gates = gates(s.Slots, scores)
	s.Scores = r.gate.explain(s.Slots, scores, values)
	s.Reason = ReasonKept
	if slices.Contains(changed, true) {
		s.Reason = ReasonSwapped
	}
	return changed
}

// checkState reports a state that this router cannot go on from.
func (r *Router) checkState(s State) error {
	k, features := r.cfg.EncodersPerToken, r.cfg.Features()
	if s.Position < 0 || len(s.Averages) != features || len(s.Slots) != k || len(s.Gates) != k {
		return fmt.Errorf("router state: position %d, %d averages, %d slots and %d gates do not fit this router (%d averages, %d slots); begin with Start",
			s.Position, len(s.Averages), len(s.Slots), len(s.Gates), features, k)
	}
	if err := checkEncoders(s.Slots, r.cfg.NumEncoders); err != nil {
		return fmt.Errorf("router state: slots: %w", err)
	}
	return nil
}
