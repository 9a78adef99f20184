package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// failPause is how long a job waits after an attempt that failed.
const failPause = time.Second

// Lease is a job that a worker holds. It gives signs of life by itself until Finish, Fail
// or Release, one of which must be called.
type Lease struct {
	Job Job
	Run *Run

	msg  jetstream.Msg
	ctx  context.Context // ends with ErrLost as its cause when the job is lost
	lose context.CancelCauseFunc
	beat sync.WaitGroup

	mu       sync.Mutex // held while status and revision change
	status   Status
	revision uint64
}

// Take waits for a job.
func (q *Queue) Take(ctx context.Context) (*Lease, error) {
	for {
		msg, wait, err := q.next(ctx)
		if err != nil {
			return nil, err
		}
		if msg == nil {
			continue
		}
		lease, err := q.claim(ctx, msg)
		switch {
		case errors.Is(err, ErrLost): // over, or another worker's
		case err != nil || lease != nil:
			if lease != nil {
				lease.start(ctx, wait/3)
			}
			return lease, err
		}
	}
}

// next asks for one message, for a while; nil is none. lease is the time within which the
// server wants signs of life.
func (q *Queue) next(ctx context.Context) (msg jetstream.Msg, lease time.Duration, err error) {
	err = q.try(ctx, "take a job", 2*replyTime, func(ctx context.Context) error {
		c, err := q.js.Consumer(ctx, jobsStream, workers)
		if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
			select { // no coordinator was here yet
			case <-time.After(longWait / 10):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
		lease = c.CachedInfo().Config.AckWait
		asking, cancel := context.WithTimeout(ctx, replyTime)
		defer cancel()
		batch, err := c.Fetch(1, jetstream.FetchContext(asking))
		if end, _ := asking.Deadline(); err != nil && time.Until(end) <= 0 {
			return context.DeadlineExceeded // Fetch calls it an invalid option
		}
		if err != nil {
			return err
		}
		for m := range batch.Messages() {
			msg = m
		}
		if err := batch.Error(); msg == nil && err != nil && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return ctx.Err()
	})
	return msg, lease, err
}

// claim makes a job this worker's. It returns nil for one that is done or has failed, and
// ErrLost where another worker was quicker.
func (q *Queue) claim(ctx context.Context, msg jetstream.Msg) (*Lease, error) {
	job, err := parseJob(msg.Data())
	if err != nil {
		q.cfg.Logger.Warn("a message of the queue is thrown away", "error", err)
		return nil, q.settle(ctx, msg)
	}
	r, err := q.find(ctx, job.Run)
	if errors.Is(err, ErrLost) {
		return nil, q.settle(ctx, msg)
	}
	if err != nil {
		return nil, err
	}
	s, revision, err := r.read(ctx, job.Name)
	if err != nil {
		return nil, err
	}
	if revision == 0 || s.Result != "" || s.Failed {
		return nil, q.settle(ctx, msg)
	}
	s.Worker, s.Claim = q.cfg.Name, rand.Text()
	if s.Attempts >= job.Attempts {
		s.Failed = true
		if s.Error == "" {
			s.Error = "its workers ended without a word; were they killed, or out of memory?"
		}
		if _, err := r.write(ctx, s, revision); err != nil {
			return nil, err
		}
		return nil, q.settle(ctx, msg)
	}
	s.Attempts++
	if revision, err = r.write(ctx, s, revision); err != nil {
		return nil, err
	}
	return &Lease{Job: job, Run: r, msg: msg, status: s, revision: revision}, nil
}

// settle takes a message out of the queue.
func (q *Queue) settle(ctx context.Context, msg jetstream.Msg) error {
	return q.try(ctx, "settle a job", replyTime, func(ctx context.Context) error {
		if err := msg.DoubleAck(ctx); !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			return err
		}
		return nil
	})
}

// start begins the signs of life.
func (l *Lease) start(ctx context.Context, every time.Duration) {
	l.ctx, l.lose = context.WithCancelCause(ctx)
	l.beat.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-l.ctx.Done():
				return
			case <-tick.C:
				l.live(every)
			}
		}
	})
}

// live gives a sign of life, and looks whether the job is still this worker's.
func (l *Lease) live(limit time.Duration) {
	if err := l.msg.InProgress(); err != nil {
		l.Run.queue.cfg.Logger.Debug("no sign of life", "job", l.Job.Name, "error", err)
		return // the queue is gone; if it stays so, the status says whose the job is
	}
	ctx, cancel := context.WithTimeout(l.ctx, limit)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	entry, err := l.Run.status.Get(ctx, l.Job.Name)
	if err == nil && entry.Revision() != l.revision {
		l.lose(fmt.Errorf("another worker has taken job %s over: %w", l.Job.Name, ErrLost))
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	if _, err := l.Run.queue.js.KeyValue(ctx, bucketName+l.Run.id); over(err) {
		l.lose(fmt.Errorf("run %s is over: %w", l.Run.id, ErrLost))
	}
}

// stop ends the signs of life.
func (l *Lease) stop() {
	l.lose(nil)
	l.beat.Wait()
}

// Context ends with the context of Take, and when the job is lost; its cause then is
// ErrLost.
func (l *Lease) Context() context.Context { return l.ctx }

// Status is what was known of the job when it was taken, with what this worker added.
func (l *Lease) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// change replaces the status, if the job is still this worker's.
func (l *Lease) change(ctx context.Context, edit func(*Status)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.status
	edit(&s)
	revision, err := l.Run.write(ctx, s, l.revision)
	if err != nil {
		return err
	}
	l.status, l.revision = s, revision
	return nil
}

// Checkpoint notes an object from which another worker could go on. ErrLost says that
// the job is another's.
func (l *Lease) Checkpoint(ctx context.Context, step int64, object string) error {
	return l.change(ctx, func(s *Status) { s.Step, s.Checkpoint, s.Attempts, s.Error = step, object, 0, "" })
}

// Finish notes the job's result and takes it out of the queue. ErrLost says that the
// result does not count, because the job is another's.
func (l *Lease) Finish(ctx context.Context, step int64, object string) error {
	defer l.stop()
	if err := l.change(ctx, func(s *Status) { s.Step, s.Result, s.Error = step, object, "" }); err != nil {
		return err
	}
	return l.Run.queue.settle(ctx, l.msg)
}

// Fail notes why the attempt failed. The job goes to another worker, or has failed where
// this was the last attempt.
func (l *Lease) Fail(ctx context.Context, reason error) error {
	defer l.stop()
	failed := false
	err := l.change(ctx, func(s *Status) {
		s.Error = reason.Error()
		s.Failed = s.Attempts >= l.Job.Attempts
		failed = s.Failed
	})
	if err != nil {
		return err
	}
	if failed {
		return l.Run.queue.settle(ctx, l.msg)
	}
	return l.msg.NakWithDelay(failPause)
}

// Release gives the job back as if it had not been tried. Without the queue nothing is
// done: the lease ends by itself.
func (l *Lease) Release(ctx context.Context) error {
	defer l.stop()
	if !l.Run.queue.Connected() {
		return nil
	}
	if err := l.change(ctx, func(s *Status) { s.Attempts = max(0, s.Attempts-1) }); err != nil {
		return err
	}
	return l.msg.Nak()
}

// Abandon ends the signs of life for a job that was lost.
func (l *Lease) Abandon() { l.stop() }
