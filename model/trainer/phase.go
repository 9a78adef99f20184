package trainer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// pin is the bias of a generalist that always runs: above every score, which is at most 1.
const pin = 16

// copyNoise is that between the copies of a seed where a plan names none.
const copyNoise = 0.01

// begin makes the model that a leg starts from and brings it to the device.
func (t *Trainer) begin(leg leg) (*learner, error) {
	if err := t.grow(leg); err != nil {
		return nil, err
	}
	c := t.learnerConfig(leg)
	if leg.phase.BiasRate > 0 {
		var err error
		if c.shares, err = t.shares(); err != nil {
			return nil, err
		}
	}
	p := t.params
	if leg.phase.Kind == Branch {
		p = p.Encoder(t.Model, leg.encoder)
	}
	if err := t.prepare(leg, c, p); err != nil {
		return nil, err
	}
	return t.learner, t.resumeLearner(t.learner)
}

// grow makes the model that a leg starts from.
func (t *Trainer) grow(leg leg) error {
	grown := t.params["backbone.router.bias"].Values != nil
	switch {
	case leg.phase.Kind == Seed && t.params == nil:
		t.params = Init(t.Model.Dense(), t.Plan.Seed)
	case leg.phase.Kind == Seed || grown:
	case t.params == nil:
		t.params = Init(t.Model, t.Plan.Seed)
		if leg.phase.Share.on() {
			t.alike()
		}
	default:
		noise := leg.phase.Noise
		if noise == 0 && leg.phase.Kind != Branch {
			noise = copyNoise
		}
		t.params = t.params.Grow(t.Model, noise, t.Plan.Seed)
	}
	if !grown && leg.phase.Kind != Seed {
		if err := t.aim(); err != nil {
			return fmt.Errorf("begin the router: %w", err)
		}
	}
	if bias := t.params[balanceBias].Values; bias != nil && t.Plan.Pinned {
		bias[0] = pin
	}
	return nil
}

// aimTokens is how many tokens of each domain's training texts a new router's row begins
// with.
const aimTokens = 1 << 16

// aim begins the rows of a new router at the centroids of the encoders' domains. Where
// fewer than two have texts there is nothing to tell apart, and the rows stay as drawn.
func (t *Trainer) aim() error {
	texts, known := make([][][]int32, t.Model.Router.NumEncoders), 0
	for e, name := range t.Model.Router.Domains {
		if !slices.Contains(t.domains, name) {
			continue
		}
		var err error
		if texts[e], err = data.Sample(t.Data, data.Train, name, t.Plan.SeqLen, max(1, aimTokens/t.Plan.SeqLen)); err != nil {
			return err
		}
		known += min(1, len(texts[e]))
	}
	if known < 2 {
		return nil
	}
	r, err := swarm.ReadRouter(t.Model, t.params)
	if err != nil {
		return err
	}
	rows, err := r.Centroids(texts)
	if err != nil {
		return err
	}
	t.params[routerRows] = Param{t.params[routerRows].Shape, rows}
	return nil
}

// prepare brings a model to the device; the branches of a phase share their programs.
func (t *Trainer) prepare(leg leg, c learnerConfig, p Params) (err error) {
	if t.learner != nil && leg.phase.Kind == Branch && t.prepared == leg.place {
		return t.learner.load(p)
	}
	t.release()
	t.learner, err = newLearner(t.Backend, c, p)
	t.prepared = leg.place
	return err
}

// release frees what is on the device.
func (t *Trainer) release() {
	if t.learner != nil {
		t.learner.close()
	}
	t.learner = nil
}

// learnerConfig says what a leg computes and which tensors learn.
func (t *Trainer) learnerConfig(leg leg) learnerConfig {
	c := learnerConfig{Model: t.Model, Trainable: func(string) bool { return true }, SeqLen: t.Plan.SeqLen, Batch: t.Plan.Batch / t.Plan.Accumulate, Devices: t.Devices,
		BFloat16: t.Plan.BFloat16, Losses: leg.phase.Losses, Optimizer: t.Plan.Optimizer, Teach: leg.phase.Teach, Group: Shared, Decay: leg.phase.Decay, Pace: leg.phase.Pace,
		Learn: swarm.LearnConfig{Capacity: t.Plan.Capacity, PinFirst: t.Plan.Pinned}, owned: make([]bool, t.Model.Router.NumEncoders)}
	for _, name := range t.domains {
		if e := encoderOf(t.Model, name); e >= 0 {
			c.owned[e] = true
		}
	}
	c.Common = t.commonParts(leg.phase.Share, c.owned)
	switch leg.phase.Kind {
	case Seed:
		c.Model, c.owned = t.Model.Dense(), []bool{true}
	case Branch:
		c.Model, c.owned, c.Trainable, c.Group = t.Model.Dense(), []bool{true}, t.belongsToEncoder(), Specialists
	case Route:
		c.Trainable = func(name string) bool {
			return strings.HasPrefix(name, "backbone.router.") || strings.HasPrefix(name, "backbone.aggregator.")
		}
	}
	return c
}

// belongsToEncoder tells the tensors of a plain model that are an encoder's own.
func (t *Trainer) belongsToEncoder() func(string) bool {
	own := map[string]bool{}
	for _, spec := range t.Model.EncoderTensors(0) {
		own[spec.Plain] = true
	}
	return func(name string) bool { return own[name] }
}

// end takes a leg's result over into the model.
func (t *Trainer) end(leg leg, l *learner) error {
	p, err := l.params()
	if err != nil {
		return err
	}
	maps.Copy(p, t.best)
	t.params = t.merged(leg, p)
	return nil
}

// merged is the whole model with what a leg's learner has made of it.
func (t *Trainer) merged(leg leg, p Params) Params {
	if leg.phase.Kind != Branch {
		return p
	}
	all := Params{}
	for name, v := range t.params {
		all[name] = v
	}
	all.SetEncoder(t.Model, leg.encoder, p)
	return all
}

// shares returns how much of the training texts is of each encoder's domain, [E], relative
// to each other.
func (t *Trainer) shares() ([]float64, error) {
	manifest, err := data.ReadManifest(t.Data)
	if err != nil {
		return nil, err
	}
	train, _ := manifest.Split(data.Train)
	shares := make([]float64, t.Model.Router.NumEncoders)
	for _, name := range t.domains {
		e := encoderOf(t.Model, name)
		switch {
		case e < 0:
		case t.Plan.Mixture != nil:
			shares[e] = t.Plan.Mixture[name]
		default:
			shares[e] = float64(train.Part(name).Tokens)
		}
	}
	return shares, nil
}

// balance moves the router's bias (Wang et al. 2024) by rate: up where an encoder ran on
// fewer chunks than its target, down where on more. load: [E], chunks of a step. An
// encoder without a domain, such as a generalist, keeps its bias.
func (l *learner) balance(rate float64, load []float64) error {
	bias, err := read[float32](l.state["p/"+balanceBias], len(load))
	if err != nil {
		return err
	}
	for e, target := range l.targets(load) {
		switch n := load[e]; {
		case !l.owned[e]:
		case n < target:
			bias[e] += float32(rate)
		case n > target:
			bias[e] -= float32(rate)
		}
	}
	return l.upload("p/"+balanceBias, bias, shapes.Make(dtypes.Float32, len(bias)), false)
}

// targets shares the chunks that went to encoders with a domain out to them, [E], by how
// much of the training texts is of their domains; no encoder can run on a chunk twice.
func (l *learner) targets(load []float64) []float64 {
	var slots, total, shares float64
	for e, n := range load {
		slots += n
		if l.owned[e] {
			total += n
			shares += l.shares[e]
		}
	}
	chunks := slots / float64(l.Model.Slots())
	targets := make([]float64, len(load))
	for e := range targets {
		if l.owned[e] {
			targets[e] = min(chunks, total*l.shares[e]/shares)
		}
	}
	return targets
}
