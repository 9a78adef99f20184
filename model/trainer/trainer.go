package trainer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/data"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// Config is what a run needs.
type Config struct {
	Backend     compute.Backend
	Model       swarm.Config
	Plan        Plan
	Data        string                       // folder of prepared data
	Start       Params                       // of the model, or of its plain base to be grown; nil draws them
	Devices     int                          // that share a batch, the first of the back end; 0 is 1
	Checkpoints *ckpt.Manager                // nil keeps none
	Spread      *Spread                      // hands branches to workers; nil trains them here
	Record      func(telemetry.Record) error // told how it goes; nil is allowed
	Sync        func() error                 // puts the records on the disk, called before each checkpoint; nil is allowed
	Logger      *slog.Logger                 // nil discards
}

// ErrDevices says that there are not as many devices as asked for, or that a batch
// cannot be shared out to them.
var ErrDevices = errors.New("devices")

// maxSkipped is how many steps in a row may have a gradient that is not finite.
const maxSkipped = 10

// Trainer trains one model.
type Trainer struct {
	Config
	domains  []string          // of the data
	groups   map[string]string // of domains that are in one
	legs     []leg
	identity string       // of plan and model
	data     dataIdentity // none on a worker, whose job has it
	params   Params       // the model as of the last leg's end, or its plain base until the swarm is made
	state    state
	resume   *ckpt.Snapshot                             // taken up by the first leg
	learner  *learner                                   // of the last leg
	prepared int                                        // place in the plan of the phase that it was made for
	best     Params                                     // with patience, the tensors of specialists when their losses were lowest, see noteBest
	held     *[]heldRow                                 // of all domains, once they were read
	keep     func(context.Context, ckpt.Snapshot) error // takes checkpoints; nil keeps none

	began    time.Time
	tokens   int64 // at the last record
	profiler telemetry.Profiler
	saving   time.Duration // that training waited for checkpoints
}

// state is what a checkpoint says beside tensors.
type state struct {
	Run      string        `json:"run"`
	Data     dataIdentity  `json:"data,omitzero"`
	Leg      int           `json:"leg"`  // place in the plan's legs
	Step     int64         `json:"step"` // done in this leg
	Steps    int64         `json:"steps_in_all"`
	Tokens   int64         `json:"tokens"`
	Skipped  int64         `json:"skipped"` // steps whose gradient was not finite
	InARow   int64         `json:"skipped_in_a_row,omitzero"`
	Count    float64       `json:"count"` // steps that the optimizer made
	Position data.Position `json:"position"`

	Since   tally              `json:"since_record,omitzero"`
	Due     string             `json:"due,omitempty"`      // record of the last step, which waits for a look at held-out text; as in metrics.jsonl
	Held    *judged            `json:"held_out,omitempty"` // of the last look in this leg; nil is none
	Watched map[string]watched `json:"watched,omitempty"`  // in this leg, by domain
}

// judged is how good weights are on held-out text.
type judged struct {
	Stage string  `json:"stage"` // leg whose texts they were
	Loss  float64 `json:"loss"`
}

// New prepares a run; where the checkpoints hold one of the same plan and model, it
// goes on from there.
func New(c Config) (*Trainer, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Record == nil {
		c.Record = func(telemetry.Record) error { return nil }
	}
	c.Plan = c.Plan.withDefaults()
	if err := c.Plan.Check(c.Model); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	c.Devices = max(1, c.Devices)
	if have := c.Backend.NumDevices(); c.Devices > have {
		return nil, fmt.Errorf("%w: %d are asked for, the back end has %d", ErrDevices, c.Devices, have)
	}
	if texts := c.Plan.Batch / c.Plan.Accumulate; texts%c.Devices != 0 {
		return nil, fmt.Errorf("%w: %d texts at a time (batch %d, accumulate %d) cannot be shared out to %d devices: name a number of devices that divides them, or another batch",
			ErrDevices, texts, c.Plan.Batch, c.Plan.Accumulate, c.Devices)
	}
	manifest, err := data.ReadManifest(c.Data)
	if err != nil {
		return nil, err
	}
	if have, need := c.Model.Base.VocabSize, manifest.Tokenizer.VocabSize; need > have {
		return nil, fmt.Errorf("the data's tokenizer has %d ids, the model's vocabulary %d: prepare the data with the model's tokenizer", need, have)
	}
	t := &Trainer{Config: c, groups: map[string]string{}, data: identityOf(manifest)}
	for _, d := range manifest.Domains {
		t.domains = append(t.domains, d.Name)
		t.groups[d.Name] = d.Group
	}
	if err := c.Plan.checkDomains(t.domains); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	_, held := manifest.Split(data.Valid)
	if !held && slices.ContainsFunc(c.Plan.Phases, func(p Phase) bool { return p.Patience > 0 }) {
		return nil, errors.New("plan: patience needs held-out text, and the data has no split valid")
	}
	t.legs = c.Plan.legs(c.Model, t.domains)
	if len(t.legs) == 0 {
		return nil, errors.New("plan: a branch phase needs encoder_domains with names of the data's domains: " + strings.Join(t.domains, ", "))
	}
	t.identity = fingerprint(c.Plan, c.Model)
	if c.Checkpoints != nil {
		t.keep = c.Checkpoints.Save
	}
	if err := t.restore(); err != nil {
		return nil, err
	}
	return t, nil
}

// Step returns how many steps were done before, 0 for a new run.
func (t *Trainer) Step() int64 { return t.state.Steps }

// Run goes through the plan and returns the trained model. When ctx ends it saves a
// checkpoint and returns ctx's error.
func (t *Trainer) Run(ctx context.Context) (Params, error) {
	defer t.release()
	t.began, t.tokens = time.Now(), t.state.Tokens
	defer t.reportSaving(t.began)
	for t.state.Leg < len(t.legs) {
		if n := t.branches(); t.Spread != nil && n > 0 {
			if err := t.spread(ctx, n); err != nil {
				return nil, err
			}
			continue
		}
		if err := t.run(ctx, t.legs[t.state.Leg]); err != nil {
			return nil, err
		}
		if err := t.pass(ctx, 1); err != nil {
			return nil, err
		}
	}
	if t.Checkpoints != nil {
		if err := t.Checkpoints.Wait(); err != nil {
			return nil, err
		}
	}
	return t.params, nil
}

// pass saves what is there behind some legs.
func (t *Trainer) pass(ctx context.Context, legs int) error {
	held := t.state.Held
	if w, ok := t.state.Watched[t.legs[t.state.Leg].domain]; ok && held != nil { // whose best weights stay
		held.Loss = w.Best
	}
	t.state.Leg, t.state.Step, t.state.Count, t.state.Position = t.state.Leg+legs, 0, 0, data.Position{}
	t.state.Held, t.state.Watched, t.best = nil, nil, nil
	return t.save(context.WithoutCancel(ctx), nil, held)
}

// run does one leg, or the rest of it.
func (t *Trainer) run(ctx context.Context, leg leg) (err error) {
	l, err := t.begin(leg)
	if err != nil {
		return err
	}
	loader, err := t.loader(leg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, loader.Close()) }()
	t.freeze(leg, l)
	err = t.look(ctx, leg, l) // that the run was stopped in
	for err == nil && t.state.Step < leg.steps && !t.outOfPatience(leg, leg.domain) && !l.idle() {
		err = t.step(ctx, leg, l, loader)
	}
	switch {
	case err == nil:
		return t.end(leg, l)
	case ctx.Err() != nil:
		return t.stop(ctx, l)
	}
	return t.failed(err)
}

// stop saves a run whose ctx ended, also where the save before failed, and returns ctx's
// error.
func (t *Trainer) stop(ctx context.Context, l *learner) error {
	if t.Checkpoints != nil {
		if err := t.Checkpoints.Wait(); err != nil {
			t.Logger.Warn("a checkpoint was not written; the last one is tried all the same", "error", err)
		}
	}
	if err := t.save(context.WithoutCancel(ctx), l, t.state.Held); err != nil {
		return err
	}
	if t.Checkpoints != nil {
		if err := t.Checkpoints.Wait(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// failed says of a device's failure where the run stood and what is left of it.
func (t *Trainer) failed(err error) error {
	if !errors.Is(err, ErrDevice) {
		return err
	}
	err = fmt.Errorf("after step %d: %w", t.state.Steps, err)
	if t.Checkpoints == nil {
		return err
	}
	if list := t.Checkpoints.List(); len(list) > 0 {
		return fmt.Errorf("%w; checkpoint %d is intact, the same command goes on from it", err, list[len(list)-1].Step)
	}
	return fmt.Errorf("%w; there was no checkpoint yet", err)
}

// step learns from the next texts.
func (t *Trainer) step(ctx context.Context, leg leg, l *learner, loader *data.Loader) error {
	stop := t.profiler.Start("data")
	batches, err := t.batches(ctx, leg, loader)
	stop()
	if err != nil {
		return err
	}
	lr := leg.phase.Schedule.rate(t.state.Step, leg.steps, leg.phase.Warmup, leg.phase.LR, leg.phase.Floor)
	stop = t.profiler.Start("step") // which waits for the device: the losses are read
	r, err := l.step(batches, lr)
	stop()
	if err != nil {
		return err
	}
	return t.after(ctx, leg, l, loader, batches, r, lr)
}

// after counts a step, moves the balance bias, and records, validates and saves when
// it is time.
func (t *Trainer) after(ctx context.Context, leg leg, l *learner, loader *data.Loader, batches []rowsOfBatch, r result, lr float64) error {
	t.state.Step++
	t.state.Steps++
	t.state.Tokens += t.stepTokens()
	t.state.Position = loader.Position()
	if r.finite() {
		t.state.Count++
		t.state.InARow = 0
	} else {
		t.state.InARow++
		t.state.Skipped++
		t.Logger.Warn("gradient is not finite; the step was skipped", "step", t.state.Steps)
		if t.state.InARow >= maxSkipped {
			return fmt.Errorf("the gradient was not finite in %d steps one after another, up to step %d: lower the learning rate, or look for damaged data or weights", t.state.InARow, t.state.Steps)
		}
	}
	if leg.phase.BiasRate > 0 && r.load != nil && r.finite() {
		if err := l.balance(leg.phase.BiasRate, r.load); err != nil {
			return err
		}
	}
	t.state.Since.add(batches, r)
	every := func(n int64) bool { return n > 0 && t.state.Step%n == 0 }
	last := t.state.Step == leg.steps
	var err error
	switch {
	case every(t.Plan.Validate) || last:
		if t.state.Due, err = recordText([]telemetry.Record{t.measured(leg, l, r, lr)}); err == nil {
			err = t.look(ctx, leg, l)
		}
	case every(t.Plan.Log):
		err = t.tell(t.measured(leg, l, r, lr))
	}
	if err == nil && every(t.Plan.Save) && !last {
		err = t.save(ctx, l, t.state.Held)
	}
	return err
}

// loader opens the leg's data where the run stands.
func (t *Trainer) loader(leg leg) (*data.Loader, error) {
	c := data.LoaderConfig{Dir: t.Data, SeqLen: t.Plan.SeqLen, Batch: t.Plan.Batch, Seed: t.Plan.Seed + uint64(t.state.Leg), Weights: t.Plan.Mixture}
	if leg.domain != "" {
		c.Domains, c.Weights = t.branchMixture(leg)
	}
	loader, err := data.NewLoader(c)
	if err != nil || t.state.Position.Data == "" {
		return loader, err
	}
	if err := loader.Seek(t.state.Position); err != nil {
		return nil, errors.Join(err, loader.Close())
	}
	return loader, nil
}

// branchMixture is what a branch reads: its own domain, and its share of all others.
func (t *Trainer) branchMixture(leg leg) (domains []string, weights map[string]float64) {
	if leg.phase.Swap == 0 || len(t.domains) < 2 {
		return []string{leg.domain}, nil
	}
	weights = map[string]float64{}
	for _, name := range t.domains {
		weights[name] = leg.phase.Swap / float64(len(t.domains)-1)
	}
	weights[leg.domain] = 1 - leg.phase.Swap
	return t.domains, weights
}

// batches takes a step's texts.
func (t *Trainer) batches(ctx context.Context, leg leg, loader *data.Loader) ([]rowsOfBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := loader.Next(ctx)
	if err != nil {
		return nil, err
	}
	names, width := loader.Domains(), t.Plan.SeqLen+1
	rng := rand.New(rand.NewPCG(t.Plan.Seed, uint64(t.state.Steps)))
	size := t.Plan.Batch / t.Plan.Accumulate
	out := make([]rowsOfBatch, t.Plan.Accumulate)
	for i := range out {
		for _, d := range b.Domain[i*size:][:size] {
			out[i].add(t.Model, names[d], t.weight(names[d]))
		}
		out[i].ids = b.IDs[i*size*width:][:size*width]
		if leg.phase.Swap > 0 {
			out[i].swap(t.specialists(), leg.phase.Swap, rng)
		}
	}
	return out, nil
}

// weight is that of a domain's cross-entropy.
func (t *Trainer) weight(domain string) float32 {
	if w, ok := t.Plan.Weights[domain]; ok {
		return float32(w)
	}
	return 1
}

// add notes a text of a domain; its ids are put in apart.
func (b *rowsOfBatch) add(c swarm.Config, domain string, weight float32) {
	b.domain = append(b.domain, domain)
	b.encoder = append(b.encoder, int32(encoderOf(c, domain)))
	b.runs = append(b.runs, int32(encoderOf(c, domain)))
	b.weight = append(b.weight, weight)
}

// swap has a share of the texts run by another of some encoders than their own.
func (b *rowsOfBatch) swap(among []int32, share float64, rng *rand.Rand) {
	for i, own := range b.encoder {
		at := slices.Index(among, own)
		if draw := rng.Float64(); at < 0 || len(among) < 2 || draw >= share {
			continue
		}
		b.runs[i] = among[(at+1+rng.IntN(len(among)-1))%len(among)]
	}
}

// specialists are the encoders that a domain of the data has.
func (t *Trainer) specialists() []int32 {
	var out []int32
	for _, name := range t.domains {
		if e := encoderOf(t.Model, name); e >= 0 {
			out = append(out, int32(e))
		}
	}
	return out
}
