package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"time"

	"github.com/mamba-encoder-swarm/mes/model/queue"
	"github.com/mamba-encoder-swarm/mes/model/telemetry"
)

// Spread has the branches of a plan trained by workers, see [Work].
type Spread struct {
	Queue    *queue.Queue
	Model    []byte        // the model's config.json
	Lease    time.Duration // after which a silent worker's job goes to another; 0 is 30 s
	Attempts int           // of a job without a new checkpoint, after which the run ends; 0 is 3
}

// The zero values of Spread.
const (
	usualLease    = 30 * time.Second
	usualAttempts = 3
)

// branches is how many legs from here on are branches that do not need each other's
// results; 0 where a branch is half done already.
func (t *Trainer) branches() int {
	seen := map[int]bool{}
	for _, leg := range t.legs[t.state.Leg:] {
		if leg.phase.Kind != Branch || seen[leg.encoder] {
			break
		}
		seen[leg.encoder] = true
	}
	if t.state.Step > 0 {
		return 0
	}
	return len(seen)
}

// spreading is a branch phase in the hands of workers.
type spreading struct {
	*Trainer
	run     *queue.Run
	first   int                 // leg
	legs    []leg               //
	told    []queue.Status      // what is known of each
	results map[int]branchState // by place in legs
	tensors Params              // of all results

	// Records come out in the order of the legs, as in one process: those of a later leg
	// wait for the earlier ones.
	leading  int    // leg whose records come out
	recorded int    // of it
	object   string // checkpoint that was last looked into
}

// spread has workers train the next legs, and takes over what they made.
func (t *Trainer) spread(ctx context.Context, n int) error {
	first := t.state.Leg
	legs := t.legs[first:][:n]
	t.release()
	if err := t.grow(legs[0]); err != nil {
		return err
	}
	t.resume = nil
	if t.Checkpoints != nil { // the jobs must not start from a seed that a crash could lose
		if err := t.Checkpoints.Wait(); err != nil {
			return err
		}
	}
	s := &spreading{Trainer: t, first: first, legs: legs, told: make([]queue.Status, n), results: map[int]branchState{}, tensors: Params{}}
	if err := s.publish(ctx); err != nil {
		return fmt.Errorf("hand out the branches: %w", err)
	}
	if err := s.run.Watch(ctx, func(status queue.Status) (bool, error) { return s.take(ctx, status) }); err != nil {
		if ctx.Err() == nil { // else workers may go on until the coordinator is there again
			err = errors.Join(err, s.run.Withdraw(ctx))
		}
		return err
	}
	if err := s.merge(ctx); err != nil {
		return err
	}
	if t.Checkpoints != nil {
		if err := t.Checkpoints.Wait(); err != nil {
			return err
		}
	}
	if err := s.run.Remove(ctx); err != nil {
		t.Logger.Warn("the queue keeps the jobs that are done", "error", err)
	}
	return nil
}

// publish stores what the jobs need and puts them into the queue.
func (s *spreading) publish(ctx context.Context) error {
	spec := branchSpec{Format: branchFormat, Run: s.identity, Plan: s.Plan, Model: s.Spread.Model, Domains: s.domains, Data: s.data}
	tensors := storedAll(s.params)
	for _, tensor := range tensors { // the run's name follows from its objects', which are put there next
		spec.Seed = append(spec.Seed, storedTensor{tensor.Name, tensor.Shape, queue.NameOf(seedScope, tensor.Data)})
	}
	id, err := specName(spec)
	if err != nil {
		return err
	}
	lease, attempts := s.Spread.Lease, s.Spread.Attempts
	if lease == 0 {
		lease = usualLease
	}
	if attempts == 0 {
		attempts = usualAttempts
	}
	if s.run, err = s.Spread.Queue.Open(ctx, id, lease); err != nil {
		return err
	}
	for _, tensor := range tensors {
		if _, err := writeTensor(ctx, s.run, seedScope, tensor); err != nil {
			return err
		}
	}
	object, err := writeJSON(ctx, s.run, seedScope, spec)
	if err != nil {
		return err
	}
	for i := range s.legs {
		if err := s.run.Publish(ctx, queue.Job{Name: jobName(s.first + i), Spec: object, Attempts: attempts}); err != nil {
			return err
		}
	}
	s.Logger.Info("branches wait for workers", "run", id, "branches", len(s.legs))
	return nil
}

// seedScope is before the names of objects that all jobs share.
const seedScope = "seed"

// specName is the name of a run: the beginning of its specification's sha256.
func specName(spec branchSpec) (string, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	return path.Base(queue.NameOf(seedScope, text))[:24], nil
}

// take is told a job's status. It has enough when all have their result.
func (s *spreading) take(ctx context.Context, status queue.Status) (enough bool, err error) {
	i, err := legOf(status.Job)
	if i -= s.first; err != nil || i < 0 || i >= len(s.legs) {
		return false, fmt.Errorf("the queue has a job %q that is not of this run", status.Job)
	}
	leg, before := s.legs[i], s.told[i]
	s.told[i] = status
	log := s.Logger.With("domain", leg.domain, "worker", status.Worker)
	switch {
	case status.Failed:
		return false, fmt.Errorf("branch %s failed %d times in a row, last on worker %s: %s", leg.domain, status.Attempts, status.Worker, status.Error)
	case status.Error != "" && status.Error != before.Error:
		log.Warn("a worker failed; the branch goes to another", "error", status.Error)
	case status.Claim != before.Claim:
		log.Info("branch taken", "from_step", status.Step)
	case status.Step != before.Step:
		log.Info("branch", "step", status.Step, "of", leg.steps)
	}
	if _, have := s.results[i]; status.Result != "" && !have {
		if err := s.receive(ctx, i, log); err != nil {
			return false, fmt.Errorf("result of branch %s from worker %s: %w", leg.domain, status.Worker, err)
		}
	}
	return len(s.results) == len(s.legs), s.tell(ctx)
}

// receive reads and checks a branch's result.
func (s *spreading) receive(ctx context.Context, i int, log *slog.Logger) error {
	var b branchState
	if err := readJSON(ctx, s.run, s.told[i].Result, &b); err != nil {
		return err
	}
	if err := checkBranch(s.Model, s.legs[i], b); err != nil {
		return err
	}
	for _, tensor := range b.Tensors {
		p, err := readTensor(ctx, s.run, tensor)
		if err != nil {
			return err
		}
		s.tensors[tensor.Name] = p
	}
	s.results[i] = b
	log.Info("branch done", "branches", len(s.results), "of", len(s.legs))
	return nil
}

// tell passes on what is new in the records of the leading leg.
func (s *spreading) tell(ctx context.Context) error {
	for s.leading < len(s.legs) {
		b, done := s.results[s.leading]
		if object := s.told[s.leading].Checkpoint; !done && object != s.object {
			s.object = object
			var gone *queue.CorruptError // the next one has replaced it meanwhile
			if err := readJSON(ctx, s.run, object, &b); err != nil && !errors.As(err, &gone) {
				return err
			}
		}
		records, err := b.records()
		if err != nil {
			return fmt.Errorf("records of branch %s: %w", s.legs[s.leading].domain, err)
		}
		if err := s.tellAll(records); err != nil {
			return err
		}
		if !done {
			return nil
		}
		s.leading, s.recorded = s.leading+1, 0
	}
	return nil
}

// tellAll records those that were not yet.
func (s *spreading) tellAll(records []telemetry.Record) error {
	for ; s.recorded < len(records); s.recorded++ {
		if err := s.Record(records[s.recorded]); err != nil {
			return err
		}
	}
	return nil
}

// merge puts the results into the model and saves it.
func (s *spreading) merge(ctx context.Context) error {
	all := Params{}
	for name, p := range s.params {
		all[name] = p
	}
	for name, p := range s.tensors {
		all[name] = p
	}
	s.params = all
	for i, leg := range s.legs {
		s.state.Steps += leg.steps
		s.state.Tokens += leg.steps * s.stepTokens()
		s.state.Skipped += s.results[i].State.Skipped
	}
	s.began, s.tokens = time.Now(), s.state.Tokens
	return s.pass(ctx, len(s.legs))
}

// stepTokens is how many a step learns from.
func (t *Trainer) stepTokens() int64 { return int64(t.Plan.Batch) * int64(t.Plan.SeqLen) }
