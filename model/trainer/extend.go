package trainer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mamba-encoder-swarm/mes/model/router"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Extension is one more specialist for a trained swarm: its row of the router, and how
// its encoder is trained beside those that will run with it, all of which stay as they
// are.
type Extension struct {
	Whole swarm.Config // the swarm with the new encoder, which is its last
	Part  swarm.Config // what is trained: some of its encoders and, last, the new one
	Row   router.Row

	// Encoders of the swarm that the router chooses for the new texts, the most used
	// first: the new one takes the place of the last, and begins as the first.
	Used []int

	members []int // encoders of Part that the swarm has
}

// Extend finds the router's row for the texts of a new domain, unlike those of others,
// and says how to train its encoder. Without others the router guesses what these are like,
// see [router.Router.Extend].
func Extend(c swarm.Config, src swarm.Source, domain string, own, others [][]int32) (*Extension, error) {
	switch {
	case c.Plain():
		return nil, errors.New("the model is plain: only a swarm has domains to add to; `mes grow` makes one")
	case slices.Contains(c.Router.Domains, domain):
		return nil, fmt.Errorf("the swarm has an encoder for %q already; choose another name", domain)
	}
	if err := c.Learnable(); err != nil {
		return nil, err
	}
	r, err := swarm.ReadRouter(c, src)
	if err != nil {
		return nil, err
	}
	x := &Extension{Whole: c, Part: c}
	if x.Row, err = r.Extend(own, others); err != nil {
		return nil, err
	}
	if x.Row.Own == 0 {
		return nil, errors.New("the router cannot tell the new texts from those of its domains; it would never choose the new encoder")
	}
	if x.Used, err = used(r, c.Router, own); err != nil {
		return nil, err
	}
	k := c.Router.EncodersPerToken
	x.members = x.Used[:max(1, k-1)] // of one slot, that which the new encoder displaces
	part := &x.Part.Router
	part.NumEncoders, part.DefaultEncoders, part.Domains = len(x.members)+1, nil, make([]string, len(x.members), len(x.members)+1)
	for slot := range k {
		part.DefaultEncoders = append(part.DefaultEncoders, len(x.members)-slot)
	}
	part.Domains = append(part.Domains, domain)

	whole := &x.Whole.Router
	whole.NumEncoders++
	if len(whole.Domains) == 0 {
		whole.Domains = make([]string, c.Router.NumEncoders)
	}
	whole.Domains = append(slices.Clip(whole.Domains), domain)
	return x, nil
}

// used returns the k encoders that run most on some texts, in order.
func used(r *router.Router, c router.Config, texts [][]int32) ([]int, error) {
	tokens, order := make([]int, c.NumEncoders), make([]int, c.NumEncoders)
	for _, ids := range texts {
		s, err := r.Start("")
		if err != nil {
			return nil, err
		}
		chunks, _, err := r.Plan(s, ids)
		if err != nil {
			return nil, err
		}
		for _, chunk := range chunks {
			for _, e := range chunk.Slots {
				tokens[e] += chunk.End - chunk.Start
			}
		}
	}
	for e := range order {
		order[e] = e
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(tokens[b], tokens[a]) })
	return order[:c.EncodersPerToken], nil
}

// Start reads the tensors of the part that is trained. The new encoder is a copy.
func (x *Extension) Start(ctx context.Context, src swarm.Source) (Params, error) {
	p := Params{}
	for _, spec := range x.Part.Tensors() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name := spec.Name
		if spec.Encoder != swarm.None {
			from := x.Used[0]
			if spec.Encoder < len(x.members) {
				from = x.members[spec.Encoder]
			}
			name = swarm.Renumbered(name, spec.Encoder, from)
		}
		values, err := swarm.ReadFloats(src, name)
		if err != nil {
			return nil, err
		}
		p[spec.Name] = Param{spec.Shape, x.chosen(spec.Name, values)}
	}
	return p, nil
}

// row is what such a tensor has of the new encoder; the aggregator trusts it as the
// encoder whose place it takes.
func (x *Extension) row(name string, values []float32) []float32 {
	switch name {
	case routerRows:
		return x.Row.Proj
	case balanceBias:
		return []float32{x.Row.Bias}
	}
	return values[x.Used[len(x.Used)-1]:][:1]
}

// chosen takes the rows of the part out of a tensor of the swarm that has one for each
// encoder, and leaves others as they are.
func (x *Extension) chosen(name string, values []float32) []float32 {
	if !swarm.PerEncoder(name) {
		return values
	}
	width := len(values) / (x.Whole.Router.NumEncoders - 1)
	var out []float32
	for _, e := range x.members {
		out = append(out, values[e*width:][:width]...)
	}
	return append(out, x.row(name, values)...)
}

// Values returns the values of a tensor of the whole swarm that are new, given the
// trained part; ok is false for those that stay as src has them.
func (x *Extension) Values(spec swarm.TensorSpec, trained Params, src swarm.Source) (values []float32, ok bool, err error) {
	last := x.Whole.Router.NumEncoders - 1
	switch {
	case spec.Encoder == last:
		return trained[swarm.Renumbered(spec.Name, last, len(x.members))].Values, true, nil
	case !swarm.PerEncoder(spec.Name):
		return nil, false, nil
	}
	if values, err = swarm.ReadFloats(src, spec.Name); err != nil {
		return nil, false, err
	}
	return append(slices.Clip(values), x.row(spec.Name, values)...), true, nil
}

// Plan makes a plan of a joint phase one that trains the new encoder alone.
func (x *Extension) Plan(p Plan) (Plan, error) {
	if len(p.Phases) != 1 || p.Phases[0].Kind != Joint {
		return p, errors.New("a plan for a new domain has one phase, joint")
	}
	phase := p.Phases[0]
	phase.Teach, phase.Swap, phase.BiasRate, phase.Losses = true, 0, 0, Losses{}
	phase.Pace = map[Group]float64{Shared: 0, Generalist: 0, Router: 0, Aggregator: 0}
	p.Phases = []Phase{phase}
	p.Pinned, p.Mixture, p.Weights = false, nil, nil
	p.Capacity = float64(x.Part.Router.NumEncoders) // all texts are for one encoder
	return p, nil
}

// ExtensionPlan is a plan for a new domain of so many tokens to train on, with held-out
// text or without. A step has 8 texts, or the next more that the devices can share.
func ExtensionPlan(c swarm.Config, tokens int64, heldOut bool, devices int) Plan {
	const texts, epochs, looks = 8, 4, 2 // looks at held-out text in an epoch
	share := int64((texts + devices - 1) / devices)
	batch := share * int64(devices)
	C := int64(c.Router.NextDecision(0))
	length := min(max(256, 2*C), tokens/batch)
	length = max(length/C, 2) * C
	step := length * batch
	p := Plan{Seed: 1, SeqLen: int(length), Batch: int(batch), Held: 256, Phases: []Phase{{
		Kind: Joint, Tokens: max(epochs*tokens, step), LR: 1e-3, Floor: 0.1, Warmup: min(50, epochs*tokens/step/10),
	}}}
	if heldOut {
		p.Validate, p.Phases[0].Patience = max(1, tokens/step/looks), looks+1
	}
	return p
}
