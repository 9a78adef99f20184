package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Names on the server.
const (
	jobsStream  = "mes-jobs"
	jobsSubject = "mes.jobs."
	workers     = "workers" // the consumer of all jobs
	bucketName  = "mes-"    // and the run
)

// Status is what is known about a job.
type Status struct {
	Job        string `json:"-"`
	Worker     string `json:"worker,omitempty"`     // that has or had it
	Claim      string `json:"claim,omitempty"`      // drawn for each lease
	Attempts   int    `json:"attempts"`             // since the last checkpoint
	Step       int64  `json:"step"`                 // of the checkpoint
	Checkpoint string `json:"checkpoint,omitempty"` // object to go on from; empty is none
	Result     string `json:"result,omitempty"`     // object; empty until the job is done
	Error      string `json:"error,omitempty"`      // of the last attempt
	Failed     bool   `json:"failed,omitempty"`     // nobody tries any more
}

// Job is what a coordinator asks for.
type Job struct {
	Run      string `json:"run"`
	Name     string `json:"job"`      // letters, digits and -
	Spec     string `json:"spec"`     // object that says what to do
	Attempts int    `json:"attempts"` // without a new checkpoint, after which it failed
}

// validName is what may be part of a subject and of a bucket's name.
var validName = regexp.MustCompile(`^[a-zA-Z0-9-]{1,64}$`)

// parseJob reads a message.
func parseJob(data []byte) (Job, error) {
	var j Job
	if err := json.Unmarshal(data, &j); err != nil {
		return j, fmt.Errorf("a job that is not JSON: %w", err)
	}
	if !validName.MatchString(j.Run) || !validName.MatchString(j.Name) || hashOf(j.Spec) == "" || j.Attempts < 1 {
		return j, fmt.Errorf("a job with a wrong name, object or number of attempts: %.200q", data)
	}
	return j, nil
}

// Run is the jobs and objects of one training run.
type Run struct {
	id      string
	queue   *Queue
	status  jetstream.KeyValue
	objects jetstream.ObjectStore
}

// Open makes a run, or takes up one that is there. lease is after which time without a
// sign of life a job goes to another worker.
func (q *Queue) Open(ctx context.Context, id string, lease time.Duration) (*Run, error) {
	if !validName.MatchString(id) {
		return nil, fmt.Errorf("open run %q: the name may have letters, digits and - only", id)
	}
	r := &Run{id: id, queue: q}
	err := q.try(ctx, "open run "+id, replyTime, func(ctx context.Context) (err error) {
		_, err = q.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: jobsStream, Subjects: []string{jobsSubject + ">"}, Retention: jetstream.WorkQueuePolicy,
			MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, // a job waits once
		})
		if err != nil {
			return err
		}
		_, err = q.js.CreateOrUpdateConsumer(ctx, jobsStream, jetstream.ConsumerConfig{
			Durable: workers, AckPolicy: jetstream.AckExplicitPolicy, AckWait: lease, MaxDeliver: -1, MaxAckPending: -1,
		})
		if err != nil {
			return err
		}
		if r.status, err = q.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucketName + id}); err != nil {
			return err
		}
		r.objects, err = q.js.CreateOrUpdateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: bucketName + id})
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// find looks a run up that a job names. One that is over wraps ErrLost.
func (q *Queue) find(ctx context.Context, id string) (*Run, error) {
	r := &Run{id: id, queue: q}
	err := q.try(ctx, "find run "+id, replyTime, func(ctx context.Context) (err error) {
		if r.status, err = q.js.KeyValue(ctx, bucketName+id); err != nil {
			return err
		}
		r.objects, err = q.js.ObjectStore(ctx, bucketName+id)
		return err
	})
	if over(err) {
		return nil, fmt.Errorf("run %s is over: %w", id, ErrLost)
	}
	return r, err
}

// over tells the errors of a run that was removed.
func over(err error) bool {
	return errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// try is that of the queue; a run that was removed meanwhile wraps ErrLost. Of a bucket
// that is gone a server says no more than of one that is about to be there, so it is asked.
func (r *Run) try(ctx context.Context, what string, limit time.Duration, request func(context.Context) error) error {
	err := r.queue.try(ctx, what, limit, func(ctx context.Context) error {
		err := request(ctx)
		if err != nil && transient(err) && ctx.Err() == nil {
			if _, found := r.queue.js.KeyValue(ctx, bucketName+r.id); over(found) {
				return found
			}
		}
		return err
	})
	if over(err) {
		return fmt.Errorf("run %s is over: %w", r.id, ErrLost)
	}
	return err
}

// Publish puts a job into the queue, unless it is there or done. One that failed before
// is tried again.
func (r *Run) Publish(ctx context.Context, job Job) error {
	job.Run = r.id
	message, err := json.Marshal(job)
	if err == nil {
		_, err = parseJob(message)
	}
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	s, revision, err := r.read(ctx, job.Name)
	if err != nil || s.Result != "" {
		return err
	}
	if revision == 0 || s.Failed {
		s.Attempts, s.Failed, s.Error = 0, false, ""
		if _, err := r.write(ctx, s, revision); err != nil {
			return err
		}
	}
	return r.try(ctx, "publish job "+job.Name, replyTime, func(ctx context.Context) error {
		_, err := r.queue.js.Publish(ctx, jobsSubject+r.id+"."+job.Name, message)
		var api *jetstream.APIError
		if errors.As(err, &api) && strings.Contains(api.Description, waitsAlready) {
			return nil
		}
		return err
	})
}

// waitsAlready is how the server refuses a job that is in the stream; the code of this
// error is that of a full disk too.
const waitsAlready = "maximum messages per subject"

// read returns a job's status and its revision, which is 0 for one that has none.
func (r *Run) read(ctx context.Context, job string) (s Status, revision uint64, err error) {
	err = r.try(ctx, "read the status of job "+job, replyTime, func(ctx context.Context) error {
		entry, err := r.status.Get(ctx, job)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		s, err = statusOf(entry)
		revision = entry.Revision()
		return err
	})
	s.Job = job
	return s, revision, err
}

// statusOf reads an entry of the bucket.
func statusOf(entry jetstream.KeyValueEntry) (Status, error) {
	var s Status
	if err := json.Unmarshal(entry.Value(), &s); err != nil {
		return s, fmt.Errorf("the status of job %s is not JSON: %w", entry.Key(), err)
	}
	s.Job = entry.Key()
	return s, nil
}

// write replaces a job's status as of a revision. Where somebody else has changed it, it
// is ErrLost.
func (r *Run) write(ctx context.Context, s Status, revision uint64) (next uint64, err error) {
	value, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	err = r.try(ctx, "write the status of job "+s.Job, replyTime, func(ctx context.Context) error {
		next, err = r.status.Update(ctx, s.Job, value, revision)
		if !errors.Is(err, jetstream.ErrKeyExists) && !wrongRevision(err) {
			return err
		}
		entry, err := r.status.Get(ctx, s.Job) // an answer to this very change may have been lost
		if err != nil {
			return err
		}
		if string(entry.Value()) != string(value) {
			return fmt.Errorf("job %s was changed meanwhile: %w", s.Job, ErrLost)
		}
		next = entry.Revision()
		return nil
	})
	return next, err
}

func wrongRevision(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// Watch tells every job's status now and whenever it changes, until told returns true or
// an error.
func (r *Run) Watch(ctx context.Context, told func(Status) (enough bool, err error)) error {
	for {
		var watcher jetstream.KeyWatcher
		watching, stop := context.WithCancel(ctx)
		err := r.try(ctx, "watch the jobs", replyTime, func(context.Context) (err error) {
			watcher, err = r.status.WatchAll(watching) // lives as long as its context
			return err
		})
		enough := false
		if err == nil {
			enough, err = follow(ctx, watcher, told)
		}
		stop()
		if err != nil || enough {
			return err
		}
		r.queue.cfg.Logger.Debug("the watch of the jobs ended; another begins", "run", r.id)
	}
}

// follow is one watch; it ends without an error when the server ends it.
func follow(ctx context.Context, watcher jetstream.KeyWatcher, told func(Status) (bool, error)) (bool, error) {
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case entry, ok := <-watcher.Updates():
			if !ok {
				return false, nil
			}
			if entry == nil || entry.Operation() != jetstream.KeyValuePut {
				continue // nil is behind those that were there
			}
			s, err := statusOf(entry)
			if err != nil {
				return false, err
			}
			if enough, err := told(s); err != nil || enough {
				return enough, err
			}
		}
	}
}

// Withdraw takes the jobs that wait out of the queue; status and objects stay.
func (r *Run) Withdraw(ctx context.Context) error {
	return r.queue.try(ctx, "withdraw the jobs of run "+r.id, replyTime, func(ctx context.Context) error {
		s, err := r.queue.js.Stream(ctx, jobsStream)
		if err != nil {
			return err
		}
		return s.Purge(ctx, jetstream.WithPurgeSubject(jobsSubject+r.id+".>"))
	})
}

// Remove deletes all that the server has of the run.
func (r *Run) Remove(ctx context.Context) error {
	if err := r.Withdraw(ctx); err != nil {
		return err
	}
	return r.queue.try(ctx, "remove run "+r.id, replyTime, func(ctx context.Context) error {
		err := errors.Join(r.queue.js.DeleteKeyValue(ctx, bucketName+r.id), r.queue.js.DeleteObjectStore(ctx, bucketName+r.id))
		if over(err) {
			return nil
		}
		return err
	})
}
