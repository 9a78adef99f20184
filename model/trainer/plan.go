package trainer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/mamba-encoder-swarm/mes/model/swarm"
)

// Kind names a phase.
type Kind string

// The phases, see the package comment.
const (
	Seed   Kind = "seed"
	Branch Kind = "branch"
	Route  Kind = "router"
	Joint  Kind = "joint"
)

// Plan says how to train; it is the content of the file of `mes train -plan`.
type Plan struct {
	Seed       uint64             `json:"seed"`                  // of initial values and of the order of the data
	SeqLen     int                `json:"seq_len"`               // tokens of a text: T
	Batch      int                `json:"batch"`                 // texts a step
	Accumulate int                `json:"accumulate,omitzero"`   // runs that a step's texts are shared out to; 0 is 1
	BFloat16   bool               `json:"bfloat16"`              // keep values between operations in bf16; weights stay f32
	Mixture    map[string]float64 `json:"mixture,omitempty"`     // shares of the domains in the data; empty takes each row once an epoch
	Weights    map[string]float64 `json:"loss_weight,omitempty"` // of a domain's cross-entropy; 1 where none is named
	Capacity   float64            `json:"capacity,omitzero"`     // places of an encoder, relative to its mean load; 0 is 1.5
	Pinned     bool               `json:"pin_generalist"`        // encoder 0 always runs, in slot 0
	Optimizer  AdamW              `json:"optimizer,omitzero"`
	Phases     []Phase            `json:"phases"`
	Log        int64              `json:"log_every,omitzero"`        // steps between two records, beside that of a phase's last step; 0 is 10
	Validate   int64              `json:"validate_every,omitzero"`   // steps between two looks at held-out text, which are recorded; 0 only at the end of a phase
	Held       int                `json:"validate_rows,omitzero"`    // held-out texts to look at, drawn once; 0 is all
	Save       int64              `json:"checkpoint_every,omitzero"` // steps between two checkpoints; 0 is 500
}

// Phase is one phase of a plan.
type Phase struct {
	Kind     Kind     `json:"phase"`
	Tokens   int64    `json:"tokens"`             // to learn from; of a branch phase, for each domain
	LR       float64  `json:"lr"`                 // highest learning rate
	Floor    float64  `json:"lr_floor,omitzero"`  // lowest at the end, relative to LR
	Warmup   int64    `json:"warmup,omitzero"`    // steps
	Schedule Schedule `json:"schedule,omitempty"` // empty is cosine
	Losses   Losses   `json:"losses,omitzero"`    // what is added to the cross-entropy
	Teach    bool     `json:"teach,omitzero"`     // each text's own encoder runs, whatever the router says
	BiasRate float64  `json:"bias_rate,omitzero"` // step of the balance bias
	Noise    float64  `json:"noise,omitzero"`     // of the first phase after seed: noise between the copies, relative

	// Against learning little text by heart.
	Decay    map[Group]float64 `json:"weight_decay,omitempty"` // of a group's matrices; the optimizer's where none is named
	Pace     map[Group]float64 `json:"lr_factor,omitempty"`    // of a group's learning rate; 1 where none is named, 0 keeps it as it is
	Share    Share             `json:"share,omitzero"`         // of a joint phase: what specialists learn together
	Swap     float64           `json:"swap,omitzero"`          // share of texts for another domain's specialist than their own
	Patience int               `json:"patience,omitzero"`      // validations without a lower loss after which a specialist stops; 0 is never
}

// ReadPlan reads a plan from a JSON file; keys that it does not know are errors.
func ReadPlan(path string) (Plan, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Plan{}, fmt.Errorf("read plan: %w", err)
	}
	p, err := ParsePlan(text)
	if err != nil {
		return Plan{}, fmt.Errorf("read plan %s: %w", path, err)
	}
	return p, nil
}

// ParsePlan reads a plan; keys that it does not know are errors.
func ParsePlan(text []byte) (Plan, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	p := Plan{Optimizer: usualAdamW}
	if err := d.Decode(&p); err != nil {
		return Plan{}, err
	}
	if d.More() {
		return Plan{}, errors.New("text after the end of the JSON object")
	}
	if err := errors.Join(p.Optimizer.faults()...); err != nil {
		return Plan{}, err
	}
	return p.withDefaults(), nil
}

func (p Plan) withDefaults() Plan {
	if p.Accumulate == 0 {
		p.Accumulate = 1
	}
	if p.Capacity == 0 {
		p.Capacity = 1.5
	}
	if p.Log == 0 {
		p.Log = 10
	}
	if p.Save == 0 {
		p.Save = 500
	}
	p.Optimizer = p.Optimizer.withDefaults()
	return p
}

// Check returns all faults of a plan for a model as one error, or nil.
func (p Plan) Check(c swarm.Config) error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(p.SeqLen >= 1, "seq_len: %d, must be at least 1 token", p.SeqLen)
	check(p.Batch >= 1, "batch: %d, must be at least 1 text", p.Batch)
	check(p.Batch%max(1, p.Accumulate) == 0, "accumulate: %d does not divide batch, %d", p.Accumulate, p.Batch)
	check(p.Capacity >= 1, "capacity: %v, must be at least 1", p.Capacity)
	check(len(p.Phases) > 0, "phases: none, must be at least one")
	for _, n := range []struct {
		key   string
		value int64
	}{{"accumulate", int64(p.Accumulate)}, {"log_every", p.Log}, {"validate_every", p.Validate}, {"validate_rows", int64(p.Held)}, {"checkpoint_every", p.Save}} {
		check(n.value >= 0, "%s: %d, must not be negative", n.key, n.value)
	}
	for _, domain := range slices.Sorted(maps.Keys(p.Weights)) {
		check(p.Weights[domain] >= 0, "loss_weight: %q has %v, must not be negative", domain, p.Weights[domain])
	}
	faults = append(append(faults, c.Learnable()), p.Optimizer.withDefaults().faults()...)
	if !c.Plain() && p.SeqLen >= 1 {
		C := c.Router.NextDecision(0)
		check(p.SeqLen%C == 0 && p.SeqLen > C, "seq_len: %d, must be a multiple of the router's chunk, %d, and longer", p.SeqLen, C)
		check(!p.Pinned || c.Router.DefaultEncoders[0] == 0, "pin_generalist: default_encoders begins with %d, must begin with 0", c.Router.DefaultEncoders[0])
	}
	for i, phase := range p.Phases {
		at := fmt.Sprintf("phases[%d]", i)
		switch phase.Kind {
		case Seed:
			check(i == 0, "%s: seed must be the first phase", at)
		case Branch, Route, Joint:
			check(!c.Plain(), "%s: %s needs a swarm, the model is plain; only seed trains it", at, phase.Kind)
		default:
			check(false, "%s.phase: %q, must be seed, branch, router or joint", at, phase.Kind)
		}
		check(phase.Tokens >= int64(p.Batch)*int64(p.SeqLen), "%s.tokens: %d are less than one step, %d", at, phase.Tokens, p.Batch*p.SeqLen)
		check(phase.LR > 0, "%s.lr: %v, must be positive", at, phase.LR)
		check(phase.Schedule == "" || phase.Schedule == Cosine || phase.Schedule == WSD, "%s.schedule: %q, must be %s or %s", at, phase.Schedule, Cosine, WSD)
		check(phase.Floor >= 0 && phase.Floor <= 1, "%s.lr_floor: %v, must be 0 to 1", at, phase.Floor)
		check(phase.Warmup >= 0, "%s.warmup: %d, must not be negative", at, phase.Warmup)
		for _, n := range []struct {
			key   string
			value float64
		}{{"bias_rate", phase.BiasRate}, {"noise", phase.Noise}, {"losses.balance", phase.Losses.Balance}, {"losses.z", phase.Losses.Z},
			{"losses.aggregator", phase.Losses.Aggregator}, {"losses.domain", phase.Losses.Domain}} {
			check(n.value >= 0, "%s.%s: %v, must not be negative", at, n.key, n.value)
		}
		faults = append(faults, p.checkSpecialists(phase, at)...)
	}
	return errors.Join(faults...)
}

// checkDomains returns the faults of a plan for data of some domains.
func (p Plan) checkDomains(domains []string) error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(p.Weights)) {
		if !slices.Contains(domains, name) {
			faults = append(faults, fmt.Errorf("loss_weight: %q, must be one of the data's domains: %s", name, strings.Join(domains, ", ")))
		}
	}
	return errors.Join(faults...)
}

// checkSpecialists returns the faults of what a phase does about specialists.
func (p Plan) checkSpecialists(phase Phase, at string) (faults []error) {
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(at+format, args...))
		}
	}
	for key, of := range map[string]map[Group]float64{"weight_decay": phase.Decay, "lr_factor": phase.Pace} {
		for group, v := range of {
			check(slices.Contains(allGroups, group), ".%s: %q, must be one of %q", key, group, allGroups)
			check(v >= 0, ".%s: %s has %v, must not be negative", key, group, v)
		}
	}
	check(phase.Share.All >= 0 && phase.Share.Groups >= 0, ".share: all %v, groups %v, must not be negative", phase.Share.All, phase.Share.Groups)
	check(!phase.Share.on() || phase.Kind == Joint, ".share: only the phase joint trains specialists together")
	check(phase.Swap >= 0 && phase.Swap < 1, ".swap: %v, must be from 0 to less than 1", phase.Swap)
	check(phase.Swap == 0 || phase.Kind == Branch || phase.Teach, ".swap: needs teach or a branch; elsewhere the router chooses")
	check(phase.Patience >= 0, ".patience: %d, must not be negative", phase.Patience)
	check(phase.Patience == 0 || phase.Kind == Branch || phase.Kind == Joint, ".patience: only phases branch and joint train specialists")
	check(phase.Patience == 0 || p.Validate > 0, ".patience: needs validate_every")
	return faults
}

// leg is a part of a plan that one learner does: a phase, or of a branch phase one
// encoder.
type leg struct {
	phase   Phase
	place   int    // of the phase in the plan
	encoder int    // of a branch; -1 otherwise
	domain  string // of a branch
	steps   int64
}

// name is that of the phase, and of a branch's domain.
func (l leg) name() string {
	if l.domain == "" {
		return string(l.phase.Kind)
	}
	return string(l.phase.Kind) + " " + l.domain
}

// legs lists a plan's legs; a branch phase has one for each encoder with a domain in
// the data.
func (p Plan) legs(c swarm.Config, domains []string) []leg {
	var legs []leg
	for i, phase := range p.Phases {
		steps := phase.Tokens / (int64(p.Batch) * int64(p.SeqLen))
		if phase.Kind != Branch {
			legs = append(legs, leg{phase, i, -1, "", steps})
			continue
		}
		for _, name := range domains {
			if e := encoderOf(c, name); e >= 0 {
				legs = append(legs, leg{phase, i, e, name, steps})
			}
		}
	}
	return legs
}

// encoderOf returns the first encoder of a domain, or -1.
func encoderOf(c swarm.Config, domain string) int {
	for e, name := range c.Router.Domains {
		if name == domain && domain != "" {
			return e
		}
	}
	return -1
}

// fingerprint identifies what a run is, so that it goes on as it began.
func fingerprint(p Plan, c swarm.Config) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%+v %+v", p, c))
	return hex.EncodeToString(sum[:8])
}
