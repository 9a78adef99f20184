package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/gomlx/compute"

	"github.com/mamba-encoder-swarm/mes/model/ckpt"
	"github.com/mamba-encoder-swarm/mes/model/queue"
	"github.com/mamba-encoder-swarm/mes/model/swarm"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// WorkerConfig is what a worker needs.
type WorkerConfig struct {
	Backend compute.Backend
	Queue   *queue.Queue
	Data    string                                    // folder of prepared data, equal to the coordinator's
	Model   func(config []byte) (swarm.Config, error) // reads a config.json
	Record  func(telemetry.Record)                    // told how it goes; nil is allowed
	Logger  *slog.Logger                              // nil discards
}

// stopTime is how long a worker that ends takes to leave a last checkpoint.
const stopTime = 10 * time.Second

// Work trains the branches that coordinators hand out (see [Spread]), one after the other,
// until ctx ends. Data that differ from a coordinator's are an error; whatever else keeps a
// branch from being trained is told to its coordinator.
func Work(ctx context.Context, c WorkerConfig) error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	have, err := identify(c.Data)
	if err != nil {
		return err
	}
	w := &worker{WorkerConfig: c, have: have}
	defer w.release()
	for {
		lease, err := c.Queue.Take(ctx)
		if err != nil {
			return err
		}
		if err := w.work(ctx, lease); err != nil {
			return err
		}
	}
}

// worker keeps what one job and the next share.
type worker struct {
	WorkerConfig
	have    dataIdentity
	spec    string // object whose jobs the trainer does
	need    dataIdentity
	seed    map[string]storedTensor // by name
	tensors map[string]Param        // of the seed, by object; what all branches share is read once
	trainer *Trainer
}

func (w *worker) release() {
	if w.trainer != nil {
		w.trainer.release()
	}
	w.trainer = nil
}

// work does one job. Only what must end the worker is an error.
func (w *worker) work(ctx context.Context, lease *queue.Lease) error {
	b := &branch{worker: w, lease: lease, log: w.Logger.With("run", lease.Job.Run, "job", lease.Job.Name)}
	result, err := b.train(lease.Context())
	switch {
	case err == nil:
		err = lease.Finish(lease.Context(), b.leg.steps, result)
	case ctx.Err() == nil && !errors.Is(err, queue.ErrLost) && !errors.Is(err, errOtherData):
		b.log.Warn("the branch failed", "error", err)
		err = lease.Fail(lease.Context(), err)
	default:
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if errors.Is(err, queue.ErrLost) {
			lease.Abandon()
		} else if released := lease.Release(stop); released != nil {
			b.log.Warn("the job is given back when its lease ends", "error", released)
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, queue.ErrLost):
		b.log.Warn("the job is given up", "reason", err)
		return nil
	}
	return err
}

// branch is one job.
type branch struct {
	*worker
	lease   *queue.Lease
	log     *slog.Logger
	index   int // of the leg
	leg     leg
	own     map[string]bool // tensors that it trains
	records []telemetry.Record
	objects []string   // of the last checkpoint
	pushing chan error // of a checkpoint under way; nil is none
}

// train does the job, or the rest of it, and returns the result's object.
func (b *branch) train(ctx context.Context) (string, error) {
	if err := b.open(ctx); err != nil {
		return "", err
	}
	b.log.Info("branch", "domain", b.leg.domain, "from_step", b.trainer.state.Step, "steps", b.leg.steps)
	err := b.trainer.run(ctx, b.leg)
	if pushed := b.wait(); pushed != nil && (err == nil || errors.Is(pushed, queue.ErrLost)) {
		err = pushed
	}
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, queue.ErrLost) {
		err = cause
	}
	if err != nil {
		return "", err
	}
	result := Params{}
	for name := range b.own {
		result[name] = b.trainer.params[name]
	}
	object, _, err := b.store(ctx, b.trainer.state, storedAll(result), b.records)
	return object, err
}

// open reads the job and makes the trainer stand where its last checkpoint is.
func (b *branch) open(ctx context.Context) (err error) {
	if b.index, err = legOf(b.lease.Job.Name); err != nil {
		return err
	}
	if b.spec != b.lease.Job.Spec {
		if err := b.prepare(ctx); err != nil {
			return err
		}
	}
	t := b.trainer
	if b.index >= len(t.legs) || t.legs[b.index].phase.Kind != Branch {
		return fmt.Errorf("leg %d of the plan is no branch", b.index)
	}
	b.leg = t.legs[b.index]
	b.own = map[string]bool{}
	for _, spec := range t.Model.EncoderTensors(b.leg.encoder) {
		b.own[spec.Name] = true
	}
	if differ := b.need.difference(b.have, b.leg.domain); differ != "" {
		return fmt.Errorf("the data in %s %s; %w", b.Data, differ, errOtherData)
	}
	t.keep = b.keep
	t.Record = func(r telemetry.Record) error {
		b.records = append(b.records, r)
		if b.worker.Record != nil {
			b.worker.Record(r)
		}
		return nil
	}
	t.resume, t.best, t.state = nil, nil, state{Run: t.identity, Leg: b.index}
	for _, leg := range t.legs[:b.index] {
		t.state.Steps += leg.steps
	}
	t.state.Tokens = t.state.Steps * t.stepTokens()
	t.began, t.tokens = time.Now(), t.state.Tokens
	t.profiler.Take() // what is of another branch
	if err := b.fetchSeed(ctx); err != nil {
		return err
	}
	return b.resume(ctx)
}

// prepare makes a trainer for the jobs of another phase or run.
func (b *branch) prepare(ctx context.Context) error {
	text, err := b.lease.Run.Get(ctx, b.lease.Job.Spec, maxText)
	if err != nil {
		return err
	}
	spec, err := parseBranchSpec(text)
	if err != nil {
		return err
	}
	model, err := b.Model(spec.Model)
	if err != nil {
		return fmt.Errorf("the job's model: %w", err)
	}
	if err := spec.Plan.Check(model); err != nil {
		return fmt.Errorf("the job's plan: %w", err)
	}
	if fingerprint(spec.Plan, model) != spec.Run {
		return errors.New("the job's plan and model mean something else here: run the same version of mes as its coordinator")
	}
	b.release()
	b.spec, b.need = b.lease.Job.Spec, spec.Data
	b.seed, b.tensors = map[string]storedTensor{}, map[string]Param{}
	for _, tensor := range spec.Seed {
		b.seed[tensor.Name] = tensor
	}
	b.trainer = &Trainer{Config: Config{Backend: b.Backend, Devices: 1, Model: model, Plan: spec.Plan, Data: b.Data, Logger: b.Logger},
		domains: spec.Domains, legs: spec.Plan.legs(model, spec.Domains), identity: spec.Run}
	return nil
}

// fetchSeed reads the tensors of the seed that the branch needs and that are not here.
func (b *branch) fetchSeed(ctx context.Context) error {
	t := b.trainer
	t.params = Params{}
	have := map[string]Param{}
	for _, spec := range slices.Concat(t.Model.CoreTensors(), t.Model.EncoderTensors(b.leg.encoder)) {
		tensor, ok := b.seed[spec.Name]
		if !ok || !slices.Equal(tensor.Shape, spec.Shape) {
			return fmt.Errorf("the job's tensor %s has shape %v, expected %v", spec.Name, tensor.Shape, spec.Shape)
		}
		p, ok := b.tensors[tensor.Object]
		if !ok {
			var err error
			if p, err = readTensor(ctx, b.lease.Run, tensor); err != nil {
				return err
			}
		}
		have[tensor.Object], t.params[spec.Name] = p, p
	}
	b.tensors = have
	return nil
}

// resume takes up the job's last checkpoint. One that is corrupt is passed over: the
// branch begins anew.
func (b *branch) resume(ctx context.Context) error {
	object := b.lease.Status().Checkpoint
	if object == "" {
		return nil
	}
	saved, snapshot, err := b.read(ctx, object)
	var corrupt *queue.CorruptError
	if errors.As(err, &corrupt) {
		b.log.Warn("the last checkpoint is corrupt; the branch begins anew", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	if saved.State.Run != b.trainer.identity || saved.State.Leg != b.index {
		return fmt.Errorf("checkpoint %s is of another job", object)
	}
	if b.records, err = saved.records(); err != nil {
		return err
	}
	b.trainer.state = saved.State
	b.trainer.unpack(snapshot)
	for _, tensor := range saved.Tensors {
		b.objects = append(b.objects, tensor.Object)
	}
	b.objects = append(b.objects, object)
	return nil
}

// read reads a checkpoint.
func (b *branch) read(ctx context.Context, object string) (saved branchState, s *ckpt.Snapshot, err error) {
	if err := readJSON(ctx, b.lease.Run, object, &saved); err != nil {
		return saved, nil, err
	}
	s = &ckpt.Snapshot{Step: saved.State.Steps}
	for _, tensor := range saved.Tensors {
		p, err := readTensor(ctx, b.lease.Run, tensor)
		if err != nil {
			return saved, nil, err
		}
		s.Tensors = append(s.Tensors, stored(tensor.Name, p.Shape, p.Values))
	}
	return saved, s, nil
}

// keep sends a checkpoint in the background; the one before must have arrived. A worker
// that ends sends its last one if it can do so soon.
func (b *branch) keep(ctx context.Context, s ckpt.Snapshot) error {
	if err := b.wait(); err != nil {
		return err
	}
	cancel := context.CancelFunc(func() {})
	if stopped := b.lease.Context(); stopped.Err() != nil {
		if errors.Is(context.Cause(stopped), queue.ErrLost) || !b.Queue.Connected() {
			return nil
		}
		ctx, cancel = context.WithTimeout(ctx, stopTime)
	}
	records := slices.Clone(b.records)
	pushing := make(chan error, 1)
	b.pushing = pushing
	go func() { // wait receives its end
		defer cancel()
		pushing <- b.push(ctx, s, records)
	}()
	return nil
}

// wait waits for the checkpoint under way.
func (b *branch) wait() error {
	if b.pushing == nil {
		return nil
	}
	err := <-b.pushing
	b.pushing = nil
	return err
}

// push stores a checkpoint, notes it and deletes the one before.
func (b *branch) push(ctx context.Context, s ckpt.Snapshot, records []telemetry.Record) error {
	var at state
	if err := json.Unmarshal(s.Meta, &at); err != nil {
		return fmt.Errorf("checkpoint of step %d: %w", s.Step, err)
	}
	own := slices.DeleteFunc(s.Tensors, func(t ckpt.Tensor) bool {
		return !b.own[t.Name] && !strings.HasPrefix(t.Name, moments) && !strings.HasPrefix(t.Name, lowest)
	})
	object, parts, err := b.store(ctx, at, own, records)
	if err != nil {
		return err
	}
	if err := b.lease.Checkpoint(ctx, at.Step, object); err != nil {
		return err
	}
	old := slices.DeleteFunc(b.objects, func(name string) bool { return slices.Contains(parts, name) })
	b.objects = parts
	if err := b.lease.Run.Drop(ctx, old...); err != nil && ctx.Err() == nil {
		b.log.Warn("the checkpoint before was not deleted", "error", err)
	}
	return nil
}

// store puts a state into the queue. parts are all objects that it needs.
func (b *branch) store(ctx context.Context, at state, tensors []ckpt.Tensor, records []telemetry.Record) (object string, parts []string, err error) {
	saved := branchState{State: at}
	if saved.Records, err = recordText(records); err != nil {
		return "", nil, err
	}
	scope := b.lease.Job.Name
	for _, tensor := range tensors {
		s, err := writeTensor(ctx, b.lease.Run, scope, tensor)
		if err != nil {
			return "", nil, err
		}
		saved.Tensors, parts = append(saved.Tensors, s), append(parts, s.Object)
	}
	object, err = writeJSON(ctx, b.lease.Run, scope, saved)
	return object, append(parts, object), err
}
